// One thread owns the engine. It keeps a list of running requests and a queue of waiting ones; each
// turn is one pass over the generators of all running requests (the next chunk of a prompt, or the
// last token with drafts) and draws from each what the pass has made sure. Integer arithmetic makes
// the text of a request independent of what else is in the batch, so turns need no care beyond
// fairness. Callbacks run on this thread, outside of the lock.
//
// A request passes from waiting to arriving (its memory is reserved, its adapters are on their way,
// its leader reads their common prompt) to running. What needs the budget happens on this thread
// too and outside of the lock, because reserving may reclaim, and reclaiming tells this scheduler.

#include "engine/scheduler.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <iterator>
#include <mutex>
#include <numeric>
#include <optional>
#include <thread>
#include <tuple>
#include <unordered_set>

#include "base/bytes.h"
#include "engine/fair_queue.h"

namespace etch::engine {
namespace {

using Clock = std::chrono::steady_clock;

struct Running {
  uint64_t id = 0;
  Request request;
  int64_t context = 0;  // of its session: what prompt and answer need, in whole pages
  // From its admission on. Freed in the reverse order: the reservation last.
  Budget::Reservation reservation;
  std::vector<std::shared_ptr<const AdapterClaim>> claims;
  std::unique_ptr<Generator> generator;  // once it runs
  bool keyed = false;                    // its context may be kept, under `key`
  PrefixKey key;
};

// The budget is taken by nothing that will end, and still the next request does not fit: after this
// time it is refused. Adapters that are on their way for a cancelled request arrive before.
constexpr std::chrono::seconds kPatience{2};
constexpr std::chrono::milliseconds kLook{100};  // at a budget that is full, without being told

}  // namespace

struct Scheduler::State {
  State(Engine& engine_in, const SchedulerOptions& options_in)
      : engine(engine_in),
        options(options_in),
        budget(options.budget != nullptr ? *options.budget : own_budget),
        passes(engine_in),
        prefixes(engine_in, budget, options.prefix_cache_bytes) {}

  void Run();
  // Waits for work, ends cancelled requests and starts waiting ones. False when the scheduler
  // stops.
  bool Admit();
  void AdmitWaiting();
  // Reserves what the request needs and does not have yet. False when there is no room.
  bool TakeRoom(Running& entry);
  // Refuses the next waiting request when nothing that will end stands in its way.
  void RefuseWhatNeverFits();
  // Starts what has all its adapters.
  void StartArrived();
  // False while an adapter is on its way.
  Result<bool> TakeAdapters(Running& entry);
  Status Start(Running& entry);
  // The running request whose context this one may begin with; null when there is none.
  const Running* LeaderOf(const Request& request) const;
  // Whether the leader's context is still to become what this request wants to copy. `ahead` are
  // the requests that arrive before it.
  bool IsLeaderReading(const Request& request, std::span<const Running> ahead) const;
  // How many tokens of the request's prompt the leader's context can give it.
  int64_t CopyableTokens(const Request& request) const;
  void Turn();
  // Draws what the last pass made sure, if anything; true while the request goes on.
  bool Advance(Running& entry);
  // Whether Admit or Run is going to end this request.
  bool IsEnding(uint64_t id) const;
  void Finish(Running& entry, FinishReason reason, const Error* error = nullptr);

  Engine& engine;
  const SchedulerOptions options;
  Budget own_budget;
  Budget& budget;
  std::thread thread;

  mutable std::mutex mutex;
  std::condition_variable changed;
  bool stopping = false;
  bool draining = false;
  uint64_t next_id = 1;
  bool signalled = false;  // something arrived, was cancelled or gave memory back
  FairQueue<Running> waiting;
  std::unordered_set<uint64_t> cancelled;
  int64_t running_count = 0;  // with arriving and ending ones
  int64_t arriving_count = 0;
  bool budget_full = false;
  SpeculationCounts published_counts;
  int64_t published_copied = 0;

  // Touched by the thread only.
  std::vector<Running> arriving;
  std::vector<Running> running;
  std::optional<Clock::time_point> stuck_since;
  std::vector<Generator*> generators;  // of the present turn
  PassRunner passes;
  SpeculationCounts counts;
  int64_t copied_tokens = 0;
  bool ended_one = false;  // since the last Admit
  PrefixCache prefixes;
};

Scheduler::Scheduler(Engine& engine, const SchedulerOptions& options)
    : state_(std::make_unique<State>(engine, options)) {
  state_->budget.SetListener([state = state_.get()] {
    const std::lock_guard lock(state->mutex);
    state->signalled = true;
    state->changed.notify_all();
  });
  state_->thread = std::thread([this] { state_->Run(); });
}

Scheduler::~Scheduler() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stopping = true;
  }
  state_->changed.notify_all();
  state_->thread.join();
  state_->budget.SetListener(nullptr);
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
  if (request.hidden && !info.gives_hidden) {
    return Fail(
        ErrorCode::kUnsupported,
        "the {} backend gives tokens, not hidden states: no embeddings; --backend cpu gives "
        "both",
        info.backend);
  }
  const int64_t vocabulary = state.engine.image().config().vocab_size;
  for (const TokenId token : request.prompt) {
    if (token < 0 || token >= vocabulary) {
      return Fail(ErrorCode::kInvalidArgument, "token {} is outside of the vocabulary of {}", token,
                  vocabulary);
    }
  }
  const int64_t longest = state.engine.image().config().context;
  if (context > longest) {
    return Fail(ErrorCode::kInvalidArgument, "context {} is not in 1 to {}, the model's own",
                context, longest);
  }
  // The last token is chosen from the logits of the one before it, so it needs no place of its own.
  request.max_tokens = std::min(request.max_tokens, context - prompt + 1);
  Running entry;
  entry.context = std::min(
      (prompt + request.max_tokens - 1 + kContextPage - 1) / kContextPage * kContextPage, context);
  int64_t needed = entry.context * info.kv_bytes_per_token;
  for (const RequestedAdapter& adapter : request.requested) {
    needed += adapter.source->size_bytes();
  }
  if (const int64_t available = state.budget.available_bytes(); needed > available) {
    return Fail(ErrorCode::kNoSpace,
                "a context of {} tokens and its adapters take {}, the server's budget has {}; ask "
                "for fewer tokens",
                entry.context, HumanBytes(static_cast<double>(needed)),
                HumanBytes(static_cast<double>(available)));
  }
  const std::lock_guard lock(state.mutex);
  if (state.stopping || state.draining) {
    return Fail(ErrorCode::kUnavailable, "the server is shutting down");
  }
  const int64_t present = state.waiting.size() + state.running_count;
  if (present >= state.options.max_running + state.options.max_waiting) {
    return Fail(ErrorCode::kUnavailable, "{} requests are waiting already; try again later",
                state.waiting.size());
  }
  entry.id = state.next_id++;
  entry.request = std::move(request);
  const uint64_t id = entry.id;
  const std::string client = entry.request.client;
  state.waiting.Push(client, std::move(entry));
  state.signalled = true;
  state.changed.notify_all();
  return id;
}

void Scheduler::Cancel(uint64_t id) {
  const std::lock_guard lock(state_->mutex);
  if (id < state_->next_id) {
    state_->cancelled.insert(id);
    state_->signalled = true;
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
  // Those that end without ever having run are counted, too, but take no seat.
  const int64_t running = std::min(state_->running_count, state_->options.max_running);
  return {running,
          state_->waiting.size(),
          state_->published_counts,
          state_->arriving_count,
          state_->budget_full,
          state_->published_copied,
          state_->prefixes.status()};
}

void Scheduler::State::Run() {
  while (Admit()) {
    Turn();
  }
  std::vector<Running> left;
  {
    const std::lock_guard lock(mutex);
    left = waiting.Take([](const Running&) { return true; });
    running_count = 0;
  }
  for (std::vector<Running>* list : {&running, &arriving, &left}) {
    for (Running& entry : *list) {
      Finish(entry, FinishReason::kCancelled);
    }
    list->clear();
  }
}

bool Scheduler::State::Admit() {
  std::vector<Running> ended;
  {
    std::unique_lock lock(mutex);
    running_count = std::ssize(running) + std::ssize(arriving);
    arriving_count = std::ssize(arriving);
    published_counts = counts;
    published_copied = copied_tokens;
    changed.notify_all();
    // Who waits for a leader that has just ended waits no longer.
    const bool look = std::exchange(ended_one, false);
    const auto awake = [&] { return stopping || signalled || look || !running.empty(); };
    if (waiting.empty() && arriving.empty()) {
      changed.wait(lock, awake);
    } else {
      changed.wait_for(lock, kLook, awake);
    }
    signalled = false;
    if (stopping) {
      return false;
    }
    const auto is_cancelled = [this](const Running& entry) { return cancelled.contains(entry.id); };
    for (std::vector<Running>* list : {&running, &arriving}) {
      const auto split =
          std::stable_partition(list->begin(), list->end(), std::not_fn(is_cancelled));
      std::move(split, list->end(), std::back_inserter(ended));
      list->erase(split, list->end());
    }
    std::ranges::move(waiting.Take(is_cancelled), std::back_inserter(ended));
    cancelled.clear();
    // What ends is counted until its on_finish was called: Drain waits for that.
    running_count = std::ssize(running) + std::ssize(arriving) + std::ssize(ended);
  }
  for (Running& entry : ended) {
    Finish(entry, FinishReason::kCancelled);
  }
  ended.clear();
  AdmitWaiting();
  StartArrived();
  return true;
}

void Scheduler::State::AdmitWaiting() {
  bool full = false;
  while (std::ssize(running) + std::ssize(arriving) < options.max_running) {
    Running entry;
    std::string client;
    {
      const std::lock_guard lock(mutex);
      if (waiting.empty()) {
        break;
      }
      std::tie(client, entry) = waiting.Pop();
      ++running_count;
    }
    if (TakeRoom(entry)) {
      arriving.push_back(std::move(entry));
      continue;
    }
    full = true;
    const std::lock_guard lock(mutex);
    --running_count;
    waiting.PutBack(client, std::move(entry));
    break;
  }
  {
    const std::lock_guard lock(mutex);
    budget_full = full;
  }
  if (!full || !running.empty() || !arriving.empty()) {
    stuck_since.reset();
  } else {
    RefuseWhatNeverFits();
  }
}

bool Scheduler::State::TakeRoom(Running& entry) {
  // Claims stay with a request that waits for the rest, or two requests would take each other's
  // adapters away in turns.
  for (size_t index = entry.claims.size(); index < entry.request.requested.size(); ++index) {
    auto claim = entry.request.requested[index].source->Claim();
    if (claim == nullptr) {
      return false;
    }
    entry.claims.push_back(std::move(claim));
  }
  auto reservation =
      budget.Reserve(entry.context * engine.info().kv_bytes_per_token, Budget::Use::kContext);
  if (!reservation) {
    return false;
  }
  entry.reservation = std::move(*reservation);
  return true;
}

void Scheduler::State::RefuseWhatNeverFits() {
  const Clock::time_point now = Clock::now();
  if (!stuck_since) {
    stuck_since = now;
  }
  if (now - *stuck_since < kPatience) {
    return;
  }
  stuck_since.reset();
  Running entry;
  {
    const std::lock_guard lock(mutex);
    entry = waiting.Pop().second;
    ++running_count;
  }
  const Error error{ErrorCode::kNoSpace,
                    "the adapters that are pinned or stay in memory leave too little of the budget "
                    "for this request"};
  Finish(entry, FinishReason::kFailed, &error);
}

void Scheduler::State::StartArrived() {
  std::vector<Running> left;
  for (Running& entry : arriving) {
    if (IsLeaderReading(entry.request, left)) {
      left.push_back(std::move(entry));
      continue;
    }
    const Result<bool> arrived = TakeAdapters(entry);
    if (arrived && !*arrived) {
      left.push_back(std::move(entry));
      continue;
    }
    const Status started = arrived ? Start(entry) : Status(tl::unexpected(arrived.error()));
    if (started) {
      running.push_back(std::move(entry));
    } else {
      Finish(entry, FinishReason::kFailed, &started.error());
    }
  }
  arriving = std::move(left);
}

const Running* Scheduler::State::LeaderOf(const Request& request) const {
  const auto found = request.leader == 0 || !engine.info().copies_contexts
                         ? running.end()
                         : std::ranges::find(running, request.leader, &Running::id);
  return found == running.end() ? nullptr : &*found;
}

bool Scheduler::State::IsLeaderReading(const Request& request,
                                       std::span<const Running> ahead) const {
  if (request.leader == 0 || !engine.info().copies_contexts ||
      std::ssize(request.prompt) <= PrefixCache::kMinTokens) {
    return false;
  }
  const Running* leader = LeaderOf(request);
  return leader != nullptr
             ? leader->generator->session().position() < std::ssize(request.prompt) - 1
             : std::ranges::find(ahead, request.leader, &Running::id) != ahead.end();
}

int64_t Scheduler::State::CopyableTokens(const Request& request) const {
  const Running* leader = LeaderOf(request);
  // The same adapters under the same name: one may have been replaced since.
  const auto is_same = [](const ActiveAdapter& left, const ActiveAdapter& right) {
    return left.weights == right.weights && left.weight_q16 == right.weight_q16;
  };
  if (leader == nullptr || leader->request.salt != request.salt ||
      !std::ranges::equal(leader->request.adapters, request.adapters, is_same)) {
    return 0;
  }
  const std::span<const TokenId> read = leader->generator->sequence().first(
      static_cast<size_t>(leader->generator->session().position()));
  const auto common = std::ranges::mismatch(read, request.prompt).in1 - read.begin();
  const int64_t tokens = std::min<int64_t>(common, std::ssize(request.prompt) - 1);
  return tokens < PrefixCache::kMinTokens ? 0 : tokens;
}

Result<bool> Scheduler::State::TakeAdapters(Running& entry) {
  std::vector<ActiveAdapter> arrived;
  for (size_t index = 0; index < entry.claims.size(); ++index) {
    const auto& claim = entry.claims[index];
    ETCH_ASSIGN_OR_RETURN(const AdapterWeights* weights, claim->Weights());
    if (weights == nullptr) {
      return false;
    }
    // The session shares the claim, so that the weights stay while it runs.
    arrived.push_back({std::shared_ptr<const AdapterWeights>(claim, weights),
                       entry.request.requested[index].weight_q16});
  }
  std::ranges::move(arrived, std::back_inserter(entry.request.adapters));
  return true;
}

Status Scheduler::State::Start(Running& entry) {
  Request& request = entry.request;
  SessionOptions session_options{entry.context, request.adapters};
  PrefixCache::Match match;
  entry.keyed = options.prefix_cache_bytes > 0 && engine.info().copies_contexts &&
                MakePrefixKey(request.adapters, request.salt, entry.key);
  if (const int64_t copyable = CopyableTokens(request); copyable > 0) {
    session_options.prefix = &LeaderOf(request)->generator->session();
    session_options.prefix_tokens = copyable;
    copied_tokens += copyable;
  } else if (entry.keyed) {
    match = prefixes.Find(entry.key, request.prompt);
    prefixes.Count(match.tokens);
    session_options.prefix = match.session.get();
    session_options.prefix_tokens = match.tokens;
  }
  ETCH_ASSIGN_OR_RETURN(std::unique_ptr<Session> session, engine.NewSession(session_options));
  entry.generator = std::make_unique<Generator>(
      engine, std::move(session),
      GeneratorOptions{request.sampling, request.stream, options.speculation, request.changes,
                       request.filter, request.hidden});
  entry.generator->Adopt(request.prompt);
  entry.generator->Begin(std::move(request.prompt), request.max_tokens);
  if (request.on_start) {
    request.on_start({match.tokens});
  }
  return {};
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
  ended_one = true;
  if (entry.generator) {
    counts.drafted += entry.generator->counts().drafted;
    counts.accepted += entry.generator->counts().accepted;
    if (entry.keyed && reason != FinishReason::kFailed) {
      entry.generator->Settle();
      prefixes.Keep(entry.key, entry.generator->session(), entry.generator->sequence(),
                    std::move(entry.reservation));
    }
  }
  // Who hears of the end finds the memory given back.
  entry.generator.reset();
  entry.request.adapters.clear();
  entry.claims.clear();
  entry.reservation = {};
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
