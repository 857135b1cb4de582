#pragma once

// One completion between the HTTP request that asks for it and the scheduler that works on it:
// checked against what its caller may do, started, observed.

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "serve/access.h"
#include "serve/generation.h"
#include "serve/metrics.h"
#include "serve/response.h"
#include "serve/service.h"
#include "serve/tenancy.h"
#include "tenant/usage.h"

namespace etch::serve {

using SteadyTime = std::chrono::steady_clock::time_point;

struct Arrival {
  Piece piece;
  SteadyTime time;  // when the engine had made it, whenever it is read
};

// What comes from the scheduler's and the meter's threads to the connection's strand. Shared by
// all: they may outlive the connection.
struct Mailbox {
  explicit Mailbox(const boost::asio::any_io_executor& executor_in)
      : executor(executor_in), wake(executor_in) {
    wake.expires_at(boost::asio::steady_timer::time_point::max());
  }

  boost::asio::any_io_executor executor;
  boost::asio::steady_timer wake;  // touched on the strand only, as is the rest
  std::deque<Arrival> arrivals;
  std::optional<bool> recorded;  // whether usage is on the disk
};

// A completion under way.
struct Completion {
  AnswerHead head;
  Generation generation;
  std::shared_ptr<Mailbox> mailbox;
  bool stream = false;
  bool include_usage = false;

  Usage usage;                 // so far
  int64_t unfinished = 0;      // choices
  std::string failure;         // of the engine
  bool cancelled = false;      // by the server
  std::string finish;          // of the last choice that ended
  double first_token_s = 0.0;  // 0: none yet

  Admission admission;
  std::optional<tenant::UsageRecord> record;  // until it is handed to the meter; none: not metered
  std::string adapter;                        // "" for the base
  SteadyTime arrived;
  std::vector<SteadyTime> last_token;  // by choice
};

// Why a request is turned away.
struct Refused {
  int status = 400;
  std::string message;
  std::string code;
  std::string reason;         // label of etch:rejected_total
  int64_t retry_after_s = 0;  // 0: none
};

// Starts what `body` asks for; what comes of it is posted to the mailbox on `executor`.
tl::expected<Completion, Refused> StartCompletion(Service& service, const Caller& caller,
                                                  const std::string& body, bool chat,
                                                  const std::string& request_id, SteadyTime arrived,
                                                  const boost::asio::any_io_executor& executor);

// Takes the oldest arrival out of the mailbox, and into account: usage, times, ends.
Piece TakePiece(Completion& completion, Metrics& metrics);

// Hands usage to the meter, once; Mailbox::recorded tells when it is stored. False when there is
// nothing to record: no tenant, or recorded already.
bool RecordUsage(Service& service, Completion& completion, tenant::Outcome outcome);

}  // namespace etch::serve
