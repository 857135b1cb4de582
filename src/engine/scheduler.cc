// One thread owns the engine. It keeps a list of running requests and a queue of waiting ones; each
// turn is one pass over the generators of all running requests (the next chunk of a prompt, or the
// last token with drafts) and draws from each what the pass has made sure. Integer arithmetic makes
// the text of a request independent of what else is in the batch, so turns need no care beyond
// fairness. Callbacks run on this thread, outside of the lock.

#include "engine/scheduler.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <numeric>
#include <thread>
#include <unordered_set>

namespace etch::engine {
namespace {

struct Running {
  uint64_t id = 0;
  Request request;
  std::unique_ptr<Generator> generator;  // once it runs
};

}  // namespace

struct Scheduler::State {
  State(Engine& engine_in, const SchedulerOptions& options_in)
      : engine(engine_in), options(options_in), passes(engine_in) {}

  void Run();
  bool Admit();
  void Turn();
  // Draws what the last pass made sure, if anything; true while the request goes on.
  bool Advance(Running& entry);
  // Whether Admit or Run is going to end this request.
  bool IsEnding(uint64_t id) const;
  void Finish(Running& entry, FinishReason reason, const Error* error = nullptr);

  Engine& engine;
  const SchedulerOptions options;
  std::thread thread;

  mutable std::mutex mutex;
  std::condition_variable changed;
  bool stopping = false;
  bool draining = false;
  uint64_t next_id = 1;
  std::deque<Running> waiting;
  std::unordered_set<uint64_t> cancelled;
  int64_t running_count = 0;
  SpeculationCounts published_counts;

  // Touched by the thread only.
  std::vector<Running> running;
  std::vector<Generator*> generators;  // of the present turn
  PassRunner passes;
  SpeculationCounts counts;
};

Scheduler::Scheduler(Engine& engine, const SchedulerOptions& options)
    : state_(std::make_unique<State>(engine, options)) {
  state_->thread = std::thread([this] { state_->Run(); });
}

Scheduler::~Scheduler() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stopping = true;
  }
  state_->changed.notify_all();
  state_->thread.join();
}

Result<uint64_t> Scheduler::Submit(Request request) {
  State& state = *state_;
  const EngineInfo& info = state.engine.info();
  const int64_t context = request.context > 0 ? request.context : info.context;
  const auto prompt = static_cast<int64_t>(request.prompt.size());
  if (prompt == 0 || request.max_tokens < 1) {
    return Fail(ErrorCode::kInvalidArgument,
                "a request needs a prompt and max_tokens of 1 or more");
  }
  if (prompt >= context) {
    return Fail(
        ErrorCode::kContextExceeded,
        "the prompt has {} tokens, the context holds {} with the answer; shorten the prompt",
        prompt, context);
  }
  const int64_t vocabulary = state.engine.image().config().vocab_size;
  for (const TokenId token : request.prompt) {
    if (token < 0 || token >= vocabulary) {
      return Fail(ErrorCode::kInvalidArgument, "token {} is outside of the vocabulary of {}", token,
                  vocabulary);
    }
  }
  // The last token is chosen from the logits of the one before it, so it needs no place of its own.
  request.max_tokens = std::min(request.max_tokens, context - prompt + 1);
  const std::lock_guard lock(state.mutex);
  if (state.stopping || state.draining) {
    return Fail(ErrorCode::kUnavailable, "the server is shutting down");
  }
  const int64_t present = std::ssize(state.waiting) + state.running_count;
  if (present >= state.options.max_running + state.options.max_waiting) {
    return Fail(ErrorCode::kUnavailable, "{} requests are waiting already; try again later",
                state.waiting.size());
  }
  Running entry;
  entry.id = state.next_id++;
  entry.request = std::move(request);
  const uint64_t id = entry.id;
  state.waiting.push_back(std::move(entry));
  state.changed.notify_all();
  return id;
}

void Scheduler::Cancel(uint64_t id) {
  const std::lock_guard lock(state_->mutex);
  if (id < state_->next_id) {
    state_->cancelled.insert(id);
    state_->changed.notify_all();
  }
}

bool Scheduler::Drain(double seconds) {
  std::unique_lock lock(state_->mutex);
  state_->draining = true;
  return state_->changed.wait_for(lock, std::chrono::duration<double>(seconds), [this] {
    return state_->waiting.empty() && state_->running_count == 0;
  });
}

SchedulerStatus Scheduler::status() const {
  const std::lock_guard lock(state_->mutex);
  return {state_->running_count, static_cast<int64_t>(state_->waiting.size()),
          state_->published_counts};
}

void Scheduler::State::Run() {
  while (Admit()) {
    Turn();
  }
  for (Running& entry : running) {
    Finish(entry, FinishReason::kCancelled);
  }
  std::deque<Running> left;
  {
    const std::lock_guard lock(mutex);
    left.swap(waiting);
    running_count = 0;
  }
  for (Running& entry : left) {
    Finish(entry, FinishReason::kCancelled);
  }
}

// Waits for work, ends cancelled requests and starts waiting ones. False when the scheduler stops.
bool Scheduler::State::Admit() {
  std::vector<Running> ended;
  std::vector<Running> started;
  {
    std::unique_lock lock(mutex);
    running_count = std::ssize(running);
    published_counts = counts;
    changed.notify_all();
    changed.wait(lock, [this] { return stopping || !running.empty() || !waiting.empty(); });
    if (stopping) {
      return false;
    }
    const auto is_cancelled = [this](const Running& entry) { return cancelled.contains(entry.id); };
    const auto take_cancelled = [&](auto& list) {
      const auto split = std::stable_partition(list.begin(), list.end(), std::not_fn(is_cancelled));
      std::move(split, list.end(), std::back_inserter(ended));
      list.erase(split, list.end());
    };
    take_cancelled(running);
    take_cancelled(waiting);
    cancelled.clear();
    while (!waiting.empty() && std::ssize(running) + std::ssize(started) < options.max_running) {
      started.push_back(std::move(waiting.front()));
      waiting.pop_front();
    }
    // What ends is counted until its on_finish was called: Drain waits for that.
    running_count = std::ssize(running) + std::ssize(started) + std::ssize(ended);
  }
  for (Running& entry : ended) {
    Finish(entry, FinishReason::kCancelled);
  }
  for (Running& entry : started) {
    auto session = engine.NewSession({entry.request.context, entry.request.adapters});
    if (!session) {
      Finish(entry, FinishReason::kFailed, &session.error());
      continue;
    }
    entry.generator =
        std::make_unique<Generator>(engine, std::move(*session),
                                    GeneratorOptions{entry.request.sampling, entry.request.stream,
                                                     options.speculation, entry.request.filter});
    entry.generator->Begin(std::move(entry.request.prompt), entry.request.max_tokens);
    if (entry.request.on_start) {
      entry.request.on_start();
    }
    running.push_back(std::move(entry));
  }
  return true;
}

void Scheduler::State::Turn() {
  generators.clear();
  for (const Running& entry : running) {
    generators.push_back(entry.generator.get());
  }
  if (generators.empty()) {
    return;
  }
  const Status status = passes.Run(generators, options.prompt_chunk);
  std::erase_if(running, [&](Running& entry) {
    if (!status) {
      Finish(entry, FinishReason::kFailed, &status.error());
      return true;
    }
    return !Advance(entry);
  });
}

bool Scheduler::State::Advance(Running& entry) {
  while (const std::optional<TokenEvent> event = entry.generator->Draw()) {
    if (std::ranges::binary_search(entry.request.end_tokens, event->token) ||
        (entry.request.on_token && !entry.request.on_token(*event))) {
      Finish(entry, FinishReason::kStop);
      return false;
    }
    if (static_cast<int64_t>(entry.generator->drawn()) >= entry.request.max_tokens) {
      Finish(entry, FinishReason::kLength);
      return false;
    }
    if (IsEnding(entry.id)) {  // not one token more, though drafts may have made some sure
      return true;
    }
  }
  if (entry.generator->stuck()) {
    const Error error{ErrorCode::kMismatch,
                      "no token of the vocabulary can go on with the text that the constraint asks "
                      "for"};
    Finish(entry, FinishReason::kFailed, &error);
    return false;
  }
  return true;
}

bool Scheduler::State::IsEnding(uint64_t id) const {
  const std::lock_guard lock(mutex);
  return stopping || cancelled.contains(id);
}

void Scheduler::State::Finish(Running& entry, FinishReason reason, const Error* error) {
  if (entry.generator) {
    counts.drafted += entry.generator->counts().drafted;
    counts.accepted += entry.generator->counts().accepted;
  }
  entry.generator.reset();
  if (entry.request.on_finish) {
    entry.request.on_finish(reason, error);
  }
}

namespace {

double LogTotal(std::span<const int32_t> logits, int32_t largest) {
  double total = 0.0;
  for (const int32_t logit : logits) {
    total += std::exp((static_cast<double>(logit) - largest) / 65536.0);
  }
  return std::log(total) + largest / 65536.0;
}

}  // namespace

double Logprob(std::span<const int32_t> logits, TokenId token) {
  const int32_t largest = *std::max_element(logits.begin(), logits.end());
  return logits[static_cast<size_t>(token)] / 65536.0 - LogTotal(logits, largest);
}

std::vector<TokenLogprob> TopLogprobs(std::span<const int32_t> logits, int64_t top) {
  std::vector<TokenId> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  const auto count = std::min<std::ptrdiff_t>(top, std::ssize(order));
  std::partial_sort(order.begin(), order.begin() + count, order.end(),
                    [&](TokenId left, TokenId right) {
                      const int32_t a = logits[static_cast<size_t>(left)];
                      const int32_t b = logits[static_cast<size_t>(right)];
                      return a != b ? a > b : left < right;
                    });
  const double total = LogTotal(logits, *std::max_element(logits.begin(), logits.end()));
  std::vector<TokenLogprob> out;
  for (std::ptrdiff_t index = 0; index < count; ++index) {
    const TokenId token = order[static_cast<size_t>(index)];
    out.push_back({token, logits[static_cast<size_t>(token)] / 65536.0 - total});
  }
  return out;
}

}  // namespace etch::engine
