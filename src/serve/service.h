#pragma once

// What every connection shares.

#include <atomic>
#include <boost/asio/thread_pool.hpp>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>

#include "engine/scheduler.h"
#include "serve/access.h"
#include "serve/constraints.h"
#include "serve/lora_table.h"
#include "serve/metrics.h"
#include "serve/registry.h"
#include "serve/server.h"
#include "serve/tenancy.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace etch::serve {

// Outlives all connections.
struct Service {
  engine::Engine& engine;
  const ServerOptions& options;
  const text::Tokenizer& tokenizer;
  const text::ChatTemplate* chat_template;  // null when the model has none
  AdapterRegistry& adapters;
  engine::Scheduler& scheduler;
  ConstraintCache& constraints;
  const Access& access;
  Metrics& metrics;
  Tenancy* tenancy;                 // null without tenants
  int64_t started;                  // Unix seconds
  std::atomic<int64_t>& answering;  // requests that are read but not answered
  LoraTable& loras;
  std::atomic<int64_t>& connections;        // that are open
  boost::asio::thread_pool& slow_requests;  // one thread, for what would hold up the others
};

}  // namespace etch::serve
