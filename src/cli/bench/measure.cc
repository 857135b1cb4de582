// How a row is measured. Sessions are made with their context filled: up to 1,024 tokens are run,
// as far as six budgets go, and repeated where more are asked for (running 16 384 through an 8B
// model would take longer than all rows together; what attention costs depends on how much the keys
// differ in weight). One step warms caches and scratch memory up, then the same step is run again
// and again, from the same position each time, until the budget is spent. The median is the figure,
// the shortest step is kept beside it. A step that alone is longer than the budget is measured
// once, without a warm-up; a row whose step would take many budgets, as earlier rows foretell, is
// left out and says so.
//
// The limits are measured before and after the rows and the larger counts: another program that
// runs during one of the two does not lower the limit, and so does not flatter the engine. Memory
// that other machines share changes its speed within seconds, so rows that are bound by reading
// (decode, batch 1) are also measured against a plain read between their steps, step by step.

#include "cli/bench/measure.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <limits>
#include <memory>

#include "base/bytes.h"
#include "base/memory.h"
#include "cli/bench/machine.h"
#include "cli/bench/random_adapter.h"
#include "cli/terminal.h"

namespace etch::cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kMaxSteps = 2000;
constexpr int64_t kManyAdapters = 15;
constexpr int64_t kLargestBatch = 16;
// A row is left out when one step would take this many budgets.
constexpr double kLongestStep = 12.0;
// Of a context, run as tokens at most, so many at a time, for so many budgets; the rest repeats
// them.
constexpr int64_t kReadTokens = 1024;
constexpr int64_t kReadPiece = 64;
constexpr double kReadBudgets = 6.0;
constexpr double kLimitSeconds = 2.0;  // what MeasureLimits takes, for the time left

double SecondsSince(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// "bench  prefill of 512  11 of 12  0:07 left", drawn anew for each row on a terminal.
class RowProgress {
 public:
  explicit RowProgress(bool quiet) : visible_(!quiet && ::isatty(STDERR_FILENO) == 1) {}
  ~RowProgress() { Clear(); }
  RowProgress(const RowProgress&) = delete;
  RowProgress& operator=(const RowProgress&) = delete;

  void Show(std::string_view what, size_t done, size_t total, double seconds_left) {
    if (visible_) {
      fmt::print(stderr, "\r\x1b[Kbench  {}  {} of {}  {} left", what, done, total,
                 HumanSeconds(seconds_left));
      std::fflush(stderr);
    }
  }
  void Clear() {
    if (visible_) {
      fmt::print(stderr, "\r\x1b[K");
      std::fflush(stderr);
    }
  }

 private:
  bool visible_;
};

Result<std::vector<RowPlan>> PlanRows(const BenchOptions& options, int64_t model_context,
                                      int64_t given_adapters) {
  std::vector<int64_t> contexts = options.contexts;
  if (options.quick) {
    contexts = {0};
  } else if (contexts.empty()) {
    for (const int64_t context : {0, 1 << 10, 4 << 10, 16 << 10}) {
      if (context < model_context) {
        contexts.push_back(context);
      }
    }
  }
  std::vector<RowPlan> plans;
  for (const int64_t context : contexts) {
    if (context < 0 || context >= model_context) {
      return Fail(ErrorCode::kInvalidArgument,
                  "--context {}: the model's context is {}, and one token is decoded after it",
                  context, model_context);
    }
    plans.push_back({false, context, 1, 0, 0});
  }
  if (options.quick) {
    plans.push_back({false, 0, kLargestBatch, 0, 0});
  } else {
    for (const int64_t batch : {2, 4, 8}) {
      plans.push_back({false, 0, batch, 0, 0});
    }
    plans.push_back({false, 0, kLargestBatch, 0, 0});
    plans.push_back({false, 0, 1, std::max<int64_t>(given_adapters, 1), 0});
    plans.push_back({false, 0, kLargestBatch, kManyAdapters, 0});
  }
  for (const int64_t tokens : {128, 512}) {
    if (tokens <= model_context && (tokens == 512 || !options.quick)) {
      plans.push_back({true, 0, 1, 0, tokens});
    }
  }
  return plans;
}

// Pairs steps with reads of memory before and after them. Short steps share a pair.
class StepsBesideReads {
 public:
  StepsBesideReads(engine::ReadProbe& probe, double bytes_per_step)
      : probe_(probe), bytes_(bytes_per_step) {}

  void BeforeStep() {
    constexpr double kBetweenReads = 0.08;
    if (windows_.empty() || windows_.back().seconds >= kBetweenReads) {
      windows_.push_back({probe_.Measure(), {}, 0.0});
    }
  }
  void AddStep(double seconds) {
    if (!windows_.empty()) {
      windows_.back().steps.push_back(seconds);
      windows_.back().seconds += seconds;
    }
  }
  void Finish(Row& row, double& best_gb_s) {
    std::vector<double> limits;
    std::vector<double> fractions;
    const double last = windows_.empty() ? 0.0 : probe_.Measure();
    for (size_t index = 0; index < windows_.size(); ++index) {
      const double before = windows_[index].read_gb_s;
      const double after = index + 1 < windows_.size() ? windows_[index + 1].read_gb_s : last;
      best_gb_s = std::max({best_gb_s, before, after});
      for (const double seconds : windows_[index].steps) {
        limits.push_back((before + after) / 2.0);
        fractions.push_back(bytes_ / seconds / 1e9 / limits.back());
      }
    }
    if (!limits.empty() && last > 0.0) {
      row.read_limit_gb_s = Median(limits);
      row.fraction_read = Median(fractions);
    }
  }

 private:
  struct Window {
    double read_gb_s;  // before the steps
    std::vector<double> steps;
    double seconds;
  };
  static double Median(std::vector<double>& values) {
    std::ranges::sort(values);
    return values[values.size() / 2];
  }

  engine::ReadProbe& probe_;
  double bytes_;
  std::vector<Window> windows_;
};

class Bench {
 public:
  Bench(const BenchOptions& options, const LoadedModel& model, BenchReport& report)
      : options_(options),
        model_(model),
        config_(model.image->config()),
        report_(report),
        probe_(report.engine.threads) {}

  Status Run(const std::vector<RowPlan>& plans);

 private:
  // Nothing when the row was left out; report_.left_out then says why.
  Status MeasureRow(const RowPlan& plan);
  std::string WhyNot(const RowPlan& plan) const;
  std::vector<engine::TokenId> SomeTokens(int64_t first, int64_t count) const;
  Status FillContext(engine::Session& session, int64_t context);
  double ForetoldStep(const RowPlan& plan) const;
  std::vector<engine::ActiveAdapter> AdaptersOf(const RowPlan& plan, int64_t session);
  std::vector<const engine::AdapterWeights*> AdaptersIn(const RowPlan& plan) const;
  double BytesOf(const RowPlan& plan) const;
  double OperationsOf(const RowPlan& plan) const;

  const BenchOptions& options_;
  const LoadedModel& model_;
  const model::Config& config_;
  BenchReport& report_;
  engine::ReadProbe probe_;
  std::vector<engine::ActiveAdapter> pool_;  // one for each session of the row with many adapters
};

Status Bench::Run(const std::vector<RowPlan>& plans) {
  RowProgress progress(options_.json);
  progress.Show("the machine's limits", 0, plans.size(), kLimitSeconds);
  report_.before = engine::MeasureLimits(report_.engine.threads);
  for (size_t index = 0; index < plans.size() && !Interrupted(); ++index) {
    const auto rows_left = static_cast<double>(plans.size() - index);
    progress.Show(plans[index].Name(), index, plans.size(),
                  rows_left * options_.seconds + kLimitSeconds);
    ETCH_TRY(MeasureRow(plans[index]));
    if (index == 0) {  // later rows hold long contexts, and adapters of the bench's own
      report_.rss_bytes = ResidentBytes() - probe_.size_bytes();
      report_.image_pss_bytes = MappedShareBytes(model_.image->path());
    }
  }
  report_.interrupted = Interrupted();
  report_.after = report_.before;
  if (!report_.interrupted) {
    progress.Show("the machine's limits", plans.size(), plans.size(), kLimitSeconds);
    pool_.clear();
    report_.after = engine::MeasureLimits(report_.engine.threads);
  }
  return {};
}

Status Bench::MeasureRow(const RowPlan& plan) {
  if (std::string why = WhyNot(plan); !why.empty()) {
    report_.left_out.push_back({plan, std::move(why)});
    return {};
  }
  std::vector<std::unique_ptr<engine::Session>> sessions;
  std::vector<std::vector<engine::TokenId>> tokens;
  std::vector<engine::Step> steps;
  const int64_t count = plan.is_prefill ? plan.tokens : 1;
  for (int64_t session = 0; session < plan.batch; ++session) {
    ETCH_ASSIGN_OR_RETURN(
        sessions.emplace_back(),
        model_.engine->NewSession({plan.context + count, AdaptersOf(plan, session)}));
    if (const Status status = FillContext(*sessions.back(), plan.context); !status) {
      return status.error().code == ErrorCode::kCancelled ? Status{} : status;
    }
    tokens.push_back(SomeTokens(session, count));
  }
  steps.reserve(sessions.size());
  for (size_t session = 0; session < sessions.size(); ++session) {
    steps.push_back({sessions[session].get(), tokens[session]});
  }
  std::vector<double> times;
  StepsBesideReads beside(probe_, BytesOf(plan));
  const bool is_read_bound = !plan.is_prefill && plan.batch == 1;
  double warm_up = 0.0;
  const Clock::time_point begin = Clock::now();
  do {
    if (is_read_bound && warm_up > 0.0) {
      beside.BeforeStep();
    }
    for (const std::unique_ptr<engine::Session>& session : sessions) {
      session->Truncate(plan.context);
    }
    const Clock::time_point step = Clock::now();
    if (const Status status = model_.engine->Forward(steps); !status) {
      if (status.error().code == ErrorCode::kCancelled) {
        break;
      }
      return status;
    }
    const double seconds = SecondsSince(step);
    if (warm_up == 0.0 && seconds < options_.seconds) {
      warm_up = seconds;
    } else {
      times.push_back(seconds);
      beside.AddStep(seconds);
    }
  } while (!Interrupted() && (times.empty() || (SecondsSince(begin) < options_.seconds &&
                                                std::ssize(times) < kMaxSteps)));
  if (times.empty()) {  // interrupted in the warm-up
    return {};
  }
  std::ranges::sort(times);
  report_.rows.push_back({plan, std::ssize(times), times[times.size() / 2], times.front(),
                          BytesOf(plan), OperationsOf(plan)});
  if (is_read_bound) {
    beside.Finish(report_.rows.back(), report_.best_probe_gb_s);
  }
  return {};
}

std::vector<engine::TokenId> Bench::SomeTokens(int64_t first, int64_t count) const {
  std::vector<engine::TokenId> tokens(static_cast<size_t>(count));
  for (int64_t index = 0; index < count; ++index) {
    tokens[static_cast<size_t>(index)] =
        static_cast<engine::TokenId>((7919 * (index + first) + 1) % config_.vocab_size);
  }
  return tokens;
}

Status Bench::FillContext(engine::Session& session, int64_t context) {
  if (context == 0) {
    return {};
  }
  const Clock::time_point begin = Clock::now();
  const int64_t most = std::min(context, kReadTokens);
  while (session.position() < most && SecondsSince(begin) < kReadBudgets * options_.seconds) {
    const int64_t count = std::min(kReadPiece, most - session.position());
    const std::vector<engine::TokenId> tokens = SomeTokens(session.position(), count);
    const engine::Step step{&session, tokens, engine::LogitsWanted::kNone};
    ETCH_TRY(model_.engine->Forward({&step, 1}));
  }
  return session.RepeatTo(context);
}

// Why a row cannot be had; empty when it can.
std::string Bench::WhyNot(const RowPlan& plan) const {
  const double step = ForetoldStep(plan);
  if (step > kLongestStep * options_.seconds) {
    return fmt::format("one step would take about {}; --seconds {:.0f} has it measured",
                       HumanSeconds(step), std::ceil(step / kLongestStep));
  }
  const uint64_t available = AvailableMemoryBytes();
  auto needed = static_cast<uint64_t>((plan.context + (plan.is_prefill ? plan.tokens : 1)) *
                                      plan.batch * model_.engine->info().kv_bytes_per_token);
  if (plan.adapters > 0 && pool_.empty()) {
    needed += static_cast<uint64_t>(plan.adapters) * RandomAdapterBytes(config_);
  }
  if (available > 0 && needed > available / 10 * 9) {
    return fmt::format("it needs {} of memory and {} are free",
                       HumanBytes(static_cast<double>(needed)),
                       HumanBytes(static_cast<double>(available)));
  }
  return "";
}

// Seconds of one step as the rows so far let expect, at most; 0 without any. The work of a step
// grows no faster than its number of tokens, and at a long context no faster than the context.
double Bench::ForetoldStep(const RowPlan& plan) const {
  double foretold = std::numeric_limits<double>::infinity();
  for (const Row& row : report_.rows) {
    const double more_tokens =
        static_cast<double>(plan.TokensPerStep()) / static_cast<double>(row.plan.TokensPerStep());
    double factor = std::max(1.0, more_tokens);
    if (plan.context > row.plan.context) {
      if (row.plan.context == 0) {
        continue;
      }
      factor *= static_cast<double>(plan.context) / static_cast<double>(row.plan.context);
    }
    foretold = std::min(foretold, factor * row.median_s);
  }
  return report_.rows.empty() || foretold == std::numeric_limits<double>::infinity() ? 0.0
                                                                                     : foretold;
}

// With --adapter, a batch gets copies of the first one: what counts is that each session's adapter
// is memory of its own.
std::vector<engine::ActiveAdapter> Bench::AdaptersOf(const RowPlan& plan, int64_t session) {
  if (session >= plan.adapters) {
    return {};
  }
  if (plan.batch == 1 && !model_.adapters.empty()) {
    return model_.adapters;
  }
  while (std::ssize(pool_) <= session) {
    pool_.push_back(
        {model_.adapters.empty()
             ? MakeRandomAdapter(config_, static_cast<uint64_t>(std::ssize(pool_)) + 1,
                                 report_.engine.backend == "float")
             : std::make_shared<const engine::AdapterWeights>(*model_.adapters.front().weights)});
  }
  return {pool_[static_cast<size_t>(session)]};
}

// Every adapter that a step of the row reads, once its sessions are made.
std::vector<const engine::AdapterWeights*> Bench::AdaptersIn(const RowPlan& plan) const {
  std::vector<const engine::AdapterWeights*> all;
  const bool given = plan.batch == 1 && !model_.adapters.empty();
  for (int64_t index = 0; index < plan.adapters; ++index) {
    const auto& from = given ? model_.adapters : pool_;
    all.push_back(from[static_cast<size_t>(index)].weights.get());
  }
  return all;
}

double Bench::BytesOf(const RowPlan& plan) const {
  double bytes = 0.0;
  for (const image::TensorInfo& tensor : model_.image->tensors()) {
    // Of an embedding that is not the head, a step reads one row a token, which is next to nothing.
    if (tensor.role != model::Role::kTokenEmbedding || config_.tied_embeddings) {
      bytes += static_cast<double>(tensor.size_bytes);
    }
  }
  bytes += static_cast<double>(plan.batch * (plan.context + 1) *
                               model_.engine->info().kv_bytes_per_token);
  for (const engine::AdapterWeights* adapter : AdaptersIn(plan)) {
    bytes += static_cast<double>(adapter->size_bytes);
  }
  return bytes;
}

// Two for each weight that a token meets. The head meets the last token of a prefill only.
double Bench::OperationsOf(const RowPlan& plan) const {
  double block = 0.0;
  for (const model::Role role : model::kBlockLinears) {
    block += static_cast<double>(model::TensorShape(config_, role).size() * config_.n_layers);
  }
  const auto head = static_cast<double>(config_.vocab_size * config_.dim);
  if (plan.is_prefill) {
    return 2.0 * (static_cast<double>(plan.tokens) * block + head);
  }
  double products = static_cast<double>(plan.batch) * (block + head);
  for (const engine::AdapterWeights* adapter : AdaptersIn(plan)) {
    for (int64_t layer = 0; layer < config_.n_layers; ++layer) {
      for (const model::Role role : model::kBlockLinears) {
        const auto [rows, cols] = model::TensorShape(config_, role);
        products += static_cast<double>(adapter->Linear(layer, role).rank * (rows + cols));
      }
    }
  }
  return 2.0 * products;
}

}  // namespace

std::string RowPlan::Name() const {
  if (is_prefill) {
    return fmt::format("prefill of {}", tokens);
  }
  std::string name = fmt::format("decode, context {}", context);
  if (batch > 1) {
    name += fmt::format(", batch {}", batch);
  }
  if (adapters > 0) {
    name += fmt::format(", {} adapter{}", adapters, adapters == 1 ? "" : "s");
  }
  return name;
}

double BenchReport::ReadLimit() const {
  return std::max({before.read_gb_s, after.read_gb_s, best_probe_gb_s});
}
double BenchReport::Int8Limit() const { return std::max(before.int8_gop_s, after.int8_gop_s); }

double BenchReport::FractionRead(const Row& row) const {
  if (row.fraction_read > 0.0) {
    return row.fraction_read;
  }
  return ReadLimit() > 0.0 ? row.GbPerSecond() / ReadLimit() : 0.0;
}

double BenchReport::FractionInt8(const Row& row) const {
  return Int8Limit() > 0.0 ? row.GopPerSecond() / Int8Limit() : 0.0;
}

double BenchReport::Fraction(const Row& row) const {
  if (row.plan.is_prefill) {
    return FractionInt8(row);
  }
  return row.plan.batch == 1 ? FractionRead(row) : std::max(FractionRead(row), FractionInt8(row));
}

double BenchReport::MicrosecondsPerPhase() const {
  for (const Row& row : rows) {
    if (!row.plan.is_prefill && row.plan.batch == 1 && row.plan.context == 0 &&
        row.plan.adapters == 0 && engine.phases_per_token > 0) {
      return row.median_s * 1e6 / static_cast<double>(engine.phases_per_token);
    }
  }
  return 0.0;
}

Result<BenchReport> RunBench(const BenchOptions& options) {
  BenchReport report;
  const Clock::time_point load = Clock::now();
  ETCH_ASSIGN_OR_RETURN(const LoadedModel model, LoadModel(options.model, Interrupted));
  report.load_s = SecondsSince(load);
  report.machine = ProcessorName();
  report.model = model.image->name();
  report.image_bytes = model.image->size_bytes();
  report.engine = model.engine->info();
  ETCH_ASSIGN_OR_RETURN(
      const std::vector<RowPlan> plans,
      PlanRows(options, model.image->config().context, std::ssize(model.adapters)));
  ETCH_TRY(Bench(options, model, report).Run(plans));
  return report;
}

}  // namespace etch::cli
