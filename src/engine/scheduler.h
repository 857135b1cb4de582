#pragma once

// Many requests on one engine, in fair turns. Each turn gives every running request one decoded
// token and the drafted ones that prove right, or one chunk of its prompt, in a single pass over
// the base. This is the seam for batching, budgets and tenancy.

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "engine/engine.h"
#include "engine/generator.h"
#include "numerics/sampler.h"

namespace etch::engine {

enum class FinishReason { kStop, kLength, kCancelled, kFailed };

struct Request {
  std::vector<TokenId> prompt;  // at least one token
  std::vector<ActiveAdapter> adapters;
  numerics::SamplingConfig sampling;
  uint32_t stream = 0;  // which of the request's parallel choices this is
  int64_t max_tokens = 0;
  int64_t context = 0;              // 0: the engine's default
  std::vector<TokenId> end_tokens;  // sorted; one of these ends the answer and is not reported

  TokenFilter filter = {};  // what the answer is held to; called on the scheduler's thread

  // Called once, on the scheduler's thread, when the request stops waiting; may be empty.
  std::function<void()> on_start;
  // Called on the scheduler's thread for every token, in order (the event's logits are valid during
  // the call only); returns false to stop (a stop string, a closed connection).
  std::function<bool(const TokenEvent&)> on_token;
  // Called once, last. `error` is set for kFailed.
  std::function<void(FinishReason, const Error* error)> on_finish;
};

struct SchedulerOptions {
  int64_t max_running = 8;  // sessions that take turns; more wait in order of arrival
  int64_t max_waiting = 512;
  int64_t prompt_chunk = 64;                     // prompt tokens a turn
  Speculation speculation = Speculation::kAuto;  // the text is the same whichever is chosen
};

struct SchedulerStatus {
  int64_t running = 0;
  int64_t waiting = 0;
  SpeculationCounts speculation;  // of all requests that have ended
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
  // shutting down, kInvalidArgument.
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
