#include "tune/trainer.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "tune/checkpoint.h"
#include "tune/data/order.h"
#include "tune/random.h"

namespace etch::tune {
namespace {

constexpr const char* kCheckpoint = "checkpoint.safetensors";
constexpr size_t kRecent = 20;

// The stream of random numbers that dropout draws from.
constexpr uint64_t kDropoutStream = 2;

// Every setting that the weights depend on, but those that may change on the way: patience and
// where checkpoints are written.
std::string TextOf(const TrainerSettings& settings) {
  const OptimizerSettings& optimizer = settings.optimizer;
  return fmt::format("rate {} {} {} {} moments {} {} {} decay {} clip {} run {} {} {} {} {} {}",
                     optimizer.learning_rate, ScheduleName(optimizer.schedule), optimizer.warmup,
                     optimizer.floor, optimizer.beta1, optimizer.beta2, optimizer.epsilon,
                     optimizer.weight_decay, optimizer.clip, settings.epochs, settings.max_steps,
                     settings.batch, settings.pass_tokens, settings.seed, settings.validate_every);
}

// Whether passes are given up. Once true, it stays true: a pass that was given up is never taken
// for a whole one.
struct Interruption {
  explicit Interruption(const TrainerEvents& events)
      : ask([this, &events] {
          happened = happened || (events.interrupted && events.interrupted());
          return happened;
        }) {}
  Interruption(const Interruption&) = delete;
  Interruption& operator=(const Interruption&) = delete;

  // kCancelled in all processes when one was interrupted.
  Status Agree(Group& group) const {
    ETCH_ASSIGN_OR_RETURN(const bool any, group.Any(happened));
    if (any) {
      return Fail(ErrorCode::kCancelled, "interrupted");
    }
    return {};
  }

  bool happened = false;
  std::function<bool()> ask;
};

// Cuts sequences into passes of at most `limit` tokens, at least one sequence each.
std::vector<Batch> CutIntoPasses(const std::vector<const Sequence*>& sequences, int64_t limit) {
  std::vector<Batch> passes;
  for (size_t begin = 0; begin < sequences.size();) {
    size_t end = begin;
    int64_t tokens = 0;
    do {
      tokens += std::ssize(sequences[end]->tokens);
      ++end;
    } while (end < sequences.size() && tokens + std::ssize(sequences[end]->tokens) <= limit);
    passes.push_back(MakeBatch(std::span(sequences).subspan(begin, end - begin)));
    begin = end;
  }
  return passes;
}

}  // namespace

Batch MakeBatch(std::span<const Sequence* const> sequences) {
  Batch batch;
  for (const Sequence* sequence : sequences) {
    const int64_t offset = batch.size();
    const auto size = static_cast<int64_t>(sequence->tokens.size());
    batch.tokens.insert(batch.tokens.end(), sequence->tokens.begin(), sequence->tokens.end());
    for (size_t part = 0; part < sequence->segment_starts.size(); ++part) {
      const int64_t begin = sequence->segment_starts[part];
      const int64_t end =
          part + 1 < sequence->segment_starts.size() ? sequence->segment_starts[part + 1] : size;
      batch.segments.push_back({offset + begin, offset + end});
      for (int64_t index = begin; index < end; ++index) {
        const auto next = static_cast<size_t>(index + 1);
        batch.targets.push_back(index + 1 < end && sequence->trained[next] != 0
                                    ? sequence->tokens[next]
                                    : model::kNoToken);
      }
    }
  }
  return batch;
}

int64_t StepsPerEpoch(const TrainerSettings& settings, int64_t sequences) {
  return (sequences + settings.batch - 1) / settings.batch;
}

int64_t PlannedSteps(const TrainerSettings& settings, int64_t sequences) {
  if (settings.max_steps > 0) {
    return settings.max_steps;
  }
  const auto per_epoch = static_cast<double>(StepsPerEpoch(settings, sequences));
  return std::max<int64_t>(1, std::llround(settings.epochs * per_epoch));
}

Trainer::Trainer(TrainedModel& model, ThreadPool& pool, Group& group,
                 const TrainerSettings& settings, std::vector<Sequence> train,
                 std::vector<Sequence> validation, std::filesystem::path folder,
                 std::string fingerprint)
    : model_(model),
      pool_(pool),
      group_(group),
      settings_(settings),
      train_(std::move(train)),
      validation_(std::move(validation)),
      folder_(std::move(folder)),
      fingerprint_(std::move(fingerprint) + " " + TextOf(settings)),
      network_(model, pool),
      sum_(group, model.parameters().size()),
      optimizer_(model.parameters()) {
  ETCH_CHECK(!train_.empty() && settings_.batch > 0, "{} sequences in batches of {}", train_.size(),
             settings_.batch);
  steps_per_epoch_ = StepsPerEpoch(settings_, std::ssize(train_));
  planned_steps_ = PlannedSteps(settings_, std::ssize(train_));
  validate_every_ =
      settings_.validate_every > 0
          ? settings_.validate_every
          : std::max<int64_t>(1, std::min(steps_per_epoch_, (planned_steps_ + 9) / 10));
}

std::vector<Batch> Trainer::Passes(int64_t step) const {
  const std::vector<int64_t> order =
      EpochOrder(settings_.seed, step / steps_per_epoch_, std::ssize(train_));
  const int64_t begin = step % steps_per_epoch_ * settings_.batch;
  std::vector<const Sequence*> sequences;
  for (int64_t index = begin; index < std::min(begin + settings_.batch, std::ssize(train_));
       ++index) {
    sequences.push_back(&train_[static_cast<size_t>(order[static_cast<size_t>(index)])]);
  }
  return CutIntoPasses(sequences, settings_.pass_tokens);
}

Result<StepReport> Trainer::Step(int64_t step, const TrainerEvents& events) {
  const std::vector<Batch> passes = Passes(step);
  StepReport report;
  int64_t targets = 0;
  for (const Batch& pass : passes) {
    targets += pass.target_count();
    report.tokens += pass.size();
  }
  Interruption interruption(events);
  ETCH_TRY(sum_.Run(std::ssize(passes), [&](int64_t index, std::span<float> gradients) {
    if (interruption.ask()) {
      return 0.0;
    }
    const uint64_t noise = RandomAt(settings_.seed ^ static_cast<uint64_t>(step), kDropoutStream,
                                    static_cast<uint64_t>(index));
    const PassOptions options{settings_.recompute, noise, model_.lora_settings().dropout > 0.0,
                              &interruption.ask};
    return network_.LossAndGradient(passes[static_cast<size_t>(index)], options, gradients);
  }));
  ETCH_TRY(interruption.Agree(group_));
  const double share = 1.0 / static_cast<double>(std::max<int64_t>(1, targets));
  report.loss = sum_.loss() * share;
  report.gradient_length = Length(pool_, sum_.gradients()) * share;
  if (!std::isfinite(report.loss) || !std::isfinite(report.gradient_length)) {
    return Fail(ErrorCode::kInvalidArgument,
                "step {}: the loss is no longer a number; lower --learning-rate", step + 1);
  }
  report.rate = LearningRate(settings_.optimizer, step, planned_steps_);
  double scale = share;
  if (settings_.optimizer.clip > 0.0 && report.gradient_length > settings_.optimizer.clip) {
    scale *= settings_.optimizer.clip / report.gradient_length;
  }
  optimizer_.Step(pool_, settings_.optimizer, report.rate, scale, sum_.gradients(),
                  model_.parameters());
  return report;
}

Result<double> Trainer::ValidationLoss(const TrainerEvents& events) {
  std::vector<const Sequence*> all;
  for (const Sequence& sequence : validation_) {
    all.push_back(&sequence);
  }
  const std::vector<Batch> passes = CutIntoPasses(all, settings_.pass_tokens);
  int64_t targets = 0;
  for (const Batch& pass : passes) {
    targets += pass.target_count();
  }
  Interruption interruption(events);
  PassOptions options;
  options.interrupted = &interruption.ask;
  GradientSum sum(group_, 0);
  ETCH_TRY(sum.Run(std::ssize(passes), [&](int64_t index, std::span<float> /*gradients*/) {
    return interruption.ask() ? 0.0 : network_.Loss(passes[static_cast<size_t>(index)], options);
  }));
  ETCH_TRY(interruption.Agree(group_));
  return sum.loss() / static_cast<double>(std::max<int64_t>(1, targets));
}

std::filesystem::path Trainer::BestPath(int64_t step) const {
  return folder_ / fmt::format("best-{}.safetensors", step);
}

bool Trainer::IsValidationDue() const {
  return !validation_.empty() && state_.validated < state_.step &&
         (state_.step % validate_every_ == 0 || state_.step == planned_steps_);
}

// Told first: what is told and not saved is told again by a run that resumes, which forgets what
// was told of later steps. Then the best weights, before the checkpoint that speaks of them, and
// those before them are removed after it.
Status Trainer::Validate(const TrainerEvents& events) {
  ETCH_ASSIGN_OR_RETURN(const double loss, ValidationLoss(events));
  state_.validated = state_.step;
  const bool is_best = state_.best_step == 0 || loss < state_.best_loss;
  state_.worse = is_best ? 0 : state_.worse + 1;
  const int64_t before = state_.best_step;
  if (is_best) {
    state_.best_loss = loss;
    state_.best_step = state_.step;
  }
  if (events.validation) {
    events.validation({state_.step, loss, is_best});
  }
  if (folder_.empty() || !group_.is_first()) {
    return {};
  }
  if (is_best) {
    ETCH_TRY(WriteCheckpoint(BestPath(state_.step), model_.parameters(), optimizer_, "best"));
  }
  ETCH_TRY(Save());
  if (is_best && before > 0) {
    std::error_code ignored;
    std::filesystem::remove(BestPath(before), ignored);
  }
  return {};
}

Status Trainer::Save() const {
  if (folder_.empty() || !group_.is_first()) {
    return {};
  }
  const nlohmann::ordered_json state = {
      {"fingerprint", fingerprint_},   {"step", state_.step},
      {"validated", state_.validated}, {"best_loss", state_.best_loss},
      {"best_step", state_.best_step}, {"worse", state_.worse},
      {"recent", state_.recent}};
  return WriteCheckpoint(folder_ / kCheckpoint, model_.parameters(), optimizer_, state.dump());
}

Result<bool> Trainer::Resume() {
  const std::filesystem::path path = folder_ / kCheckpoint;
  if (folder_.empty() || !std::filesystem::exists(path)) {
    return false;
  }
  // Whose run it is, before anything of it is taken.
  const std::vector<float> values(model_.parameters().values().begin(),
                                  model_.parameters().values().end());
  AdamW optimizer(model_.parameters());
  ETCH_ASSIGN_OR_RETURN(const std::string text,
                        ReadCheckpoint(path, model_.parameters(), optimizer));
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object() || json.value("fingerprint", "") != fingerprint_) {
    std::ranges::copy(values, model_.parameters().values().begin());
    return Fail(ErrorCode::kMismatch,
                "{}: is of a run with other data or settings; give the same ones, or start anew "
                "without --resume",
                path.string());
  }
  try {
    state_.step = json.at("step");
    state_.validated = json.at("validated");
    state_.best_loss = json.at("best_loss");
    state_.best_step = json.at("best_step");
    state_.worse = json.at("worse");
    state_.recent = json.at("recent").get<std::vector<double>>();
  } catch (const nlohmann::json::exception& error) {
    return Fail(ErrorCode::kMalformed, "{}: {}", path.string(), error.what());
  }
  optimizer_ = std::move(optimizer);
  return true;
}

Status Trainer::LoadBest() {
  if (folder_.empty() || state_.best_step == 0 || state_.best_step == state_.step) {
    return {};
  }
  AdamW unused(model_.parameters());
  ETCH_TRY(ReadCheckpoint(BestPath(state_.best_step), model_.parameters(), unused));
  return {};
}

// One step, or the validation that is due behind the last one.
Status Trainer::Advance(const TrainerEvents& events) {
  if (IsValidationDue()) {
    return Validate(events);
  }
  const auto begin = std::chrono::steady_clock::now();
  ETCH_ASSIGN_OR_RETURN(StepReport report, Step(state_.step, events));
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  report.seconds = seconds.count();
  report.step = ++state_.step;
  report.steps = planned_steps_;
  report.epoch = static_cast<double>(state_.step) / static_cast<double>(steps_per_epoch_);
  state_.recent.push_back(report.loss);
  if (state_.recent.size() > kRecent) {
    state_.recent.erase(state_.recent.begin());
  }
  if (events.step) {
    events.step(report);
  }
  if (state_.step % settings_.save_every == 0 || state_.step == planned_steps_) {
    return Save();
  }
  return {};
}

Result<TrainerResult> Trainer::Run(const TrainerEvents& events) {
  TrainerResult result;
  result.planned_steps = planned_steps_;
  while (IsValidationDue() || state_.step < planned_steps_) {
    if (settings_.patience > 0 && state_.worse >= settings_.patience) {
      result.stopped_early = true;
      break;
    }
    const Status status = Advance(events);
    if (!status && status.error().code == ErrorCode::kCancelled) {
      ETCH_TRY(Save());
      result.interrupted = true;
      break;
    }
    ETCH_TRY(status);
  }
  result.steps = state_.step;
  result.train_loss = state_.recent.empty()
                          ? 0.0
                          : std::accumulate(state_.recent.begin(), state_.recent.end(), 0.0) /
                                static_cast<double>(state_.recent.size());
  result.validation_loss = state_.best_loss;
  result.best_step = state_.best_step;
  if (!result.interrupted) {
    ETCH_TRY(LoadBest());
  }
  return result;
}

}  // namespace etch::tune
