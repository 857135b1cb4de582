#pragma once

// One HTTP connection: reads requests, routes them, writes answers and event streams. Runs as a
// coroutine on a strand.

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <cstdint>
#include <string>

#include "engine/scheduler.h"
#include "serve/constraints.h"
#include "serve/registry.h"
#include "serve/server.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace etch::serve {

// What every connection shares; outlives them all.
struct Service {
  engine::Engine& engine;
  const ServerOptions& options;
  const text::Tokenizer& tokenizer;
  const text::ChatTemplate* chat_template;  // null when the model has none
  AdapterRegistry& adapters;
  engine::Scheduler& scheduler;
  ConstraintCache& constraints;
  int64_t started;  // Unix seconds
};

// Serves `socket` until the peer closes it, breaks the protocol or stays idle.
boost::asio::awaitable<void> ServeConnection(Service& service, boost::asio::ip::tcp::socket socket);

}  // namespace etch::serve
