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
#include "serve/answer_format.h"
#include "serve/generation.h"
#include "serve/metrics.h"
#include "serve/reply.h"
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
  bool peer_gone = false;        // nobody waits for the answer any more
};

// What a request of some API surface asks for, and how the answer is to be written.
struct Ask {
  CompletionRequest request;
  std::unique_ptr<AnswerFormat> format;
  std::optional<Reply> ready = std::nullopt;  // the answer, where nothing is to be computed
};

// A completion under way.
struct Completion {
  AnswerHead head;
  std::unique_ptr<AnswerFormat> format;
  std::vector<ReplyParts> parts;  // by choice; none for what is no chat
  Generation generation;
  std::shared_ptr<Mailbox> mailbox;
  bool stream = false;

  Usage usage;             // so far
  int64_t unfinished = 0;  // choices
  std::string failure;     // of the engine
  bool cancelled = false;  // by the server
  std::string finish;      // of the last choice that ended
  Timings timings;

  Admission admission;
  std::optional<tenant::UsageRecord> record;  // until it is handed to the meter; none: not metered
  std::string adapter;                        // "" for the base, "a+b" for several
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

// Starts what `ask` asks for; what comes of it is posted to the mailbox on `executor`.
tl::expected<Completion, Refused> StartCompletion(Service& service, const Caller& caller,
                                                  Result<Ask> ask, const std::string& request_id,
                                                  SteadyTime arrived,
                                                  const boost::asio::any_io_executor& executor);

// Whether `caller` may use a model of that name, and there is one; "" is the base.
bool IsVisible(const Service& service, const Caller& caller, const std::string& model);

// What formats see of it; both must outlive the view.
AnswerView ViewOf(const Completion& completion, const Service& service);

// Takes the oldest arrival out of the mailbox, and into account: usage, times, ends.
Piece TakePiece(Completion& completion, Metrics& metrics);

// Hands usage to the meter, once; Mailbox::recorded tells when it is stored. False when there is
// nothing to record: no tenant, or recorded already.
bool RecordUsage(Service& service, Completion& completion, tenant::Outcome outcome);

}  // namespace etch::serve
