#pragma once

// Many requests on one engine, in fair turns. Each turn gives every running request one decoded
// token and the drafted ones that prove right, or one chunk of its prompt, in a single pass over
// the base. This is the seam for batching, budgets and tenancy.
//
// A waiting request is admitted when a seat is free and its context (prompt and answer, in pages of
// kContextPage tokens) and its adapters fit the budget. Clients are served in turn; the one whose
// turn it is is not overtaken, so a large request is not starved by small ones.

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "engine/adapter_source.h"
#include "engine/budget.h"
#include "engine/engine.h"
#include "engine/generator.h"
#include "engine/prefix_cache.h"
#include "numerics/sampler.h"

namespace etch::engine {

inline constexpr int64_t kContextPage = 16;  // tokens

enum class FinishReason { kStop, kLength, kCancelled, kFailed };

struct RequestStart {
  int64_t cached_tokens = 0;  // of the prompt, which a kept context spared
};

struct Request {
  std::vector<TokenId> prompt;              // at least one token
  std::vector<ActiveAdapter> adapters;      // in memory already
  std::vector<RequestedAdapter> requested;  // brought in when the request is admitted; behind those
  std::string client;                       // whose turn a request takes while it waits
  std::string salt;                         // contexts are shared only among requests of one salt
  numerics::SamplingConfig sampling;
  numerics::LogitChanges changes = {};  // of the logits that a token is drawn from
  uint32_t stream = 0;                  // which of the request's parallel choices this is
  // A request with the same prompt, adapters and salt, submitted before (the first of parallel
  // choices): this one starts when that one has read the prompt, from a copy of its context. 0:
  // none. Text and tokens are the same either way.
  uint64_t leader = 0;
  int64_t max_tokens = 0;
  int64_t context = 0;              // 0: the engine's default
  std::vector<TokenId> end_tokens;  // sorted; one of these ends the answer and is not reported

  TokenFilter filter = {};  // what the answer is held to; called on the scheduler's thread
  bool hidden = false;      // on_token's events carry TokenEvent::hidden

  // Called once, first, when the request starts to run. May be empty.
  std::function<void(const RequestStart&)> on_start;
  // Called on the scheduler's thread for every token, in order (the event's logits are valid during
  // the call only); returns false to stop (a stop string, a closed connection).
  std::function<bool(const TokenEvent&)> on_token;
  // Called once, last. `error` is set for kFailed.
  std::function<void(FinishReason, const Error* error)> on_finish;
};

struct SchedulerOptions {
  int64_t max_running = 8;  // sessions that take turns; more wait, each client's in order
  int64_t max_waiting = 512;
  int64_t prompt_chunk = 64;                     // prompt tokens a turn
  Speculation speculation = Speculation::kAuto;  // the text is the same whichever is chosen
  Budget* budget = nullptr;        // must outlive the scheduler; null: one without a limit
  int64_t prefix_cache_bytes = 0;  // for contexts of ended requests, within the budget; 0: none
};

struct SchedulerStatus {
  int64_t running = 0;
  int64_t waiting = 0;
  SpeculationCounts speculation;  // of all requests that have ended
  int64_t loading = 0;            // of `running`: wait for their adapters or leaders
  bool budget_full = false;       // the next request waits for room in the budget
  int64_t copied_tokens = 0;      // of prompts, that requests had from their leaders
  PrefixCacheStatus prefixes;
};

class Scheduler {
 public:
  // `engine` must outlive the scheduler. Starts one thread, the only one that calls
  // Engine::Forward.
  Scheduler(Engine& engine, const SchedulerOptions& options);
  // Cancels what runs (on_finish with kCancelled) and joins.
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // Takes a request and returns its id, or: kContextExceeded when the prompt and at least one token
  // do not fit the context (checked here, nothing is cut), kUnavailable when the queue is full or
  // shutting down, kNoSpace when its context and adapters exceed the budget even alone,
  // kUnsupported for hidden states of a backend that gives none, kInvalidArgument.
  Result<uint64_t> Submit(Request request);
  // Ends a request at its next turn; unknown ids are ignored.
  void Cancel(uint64_t id);
  // Stops taking requests and waits until all have finished, or `seconds` have passed. True when
  // none is left.
  bool Drain(double seconds);
  SchedulerStatus status() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// ln p of `token` and of the `top` most likely tokens (best first), in float from integer logits.
struct TokenLogprob {
  TokenId token = 0;
  double logprob = 0.0;
};
double Logprob(std::span<const int32_t> logits, TokenId token);
std::vector<TokenLogprob> TopLogprobs(std::span<const int32_t> logits, int64_t top);

}  // namespace etch::engine
