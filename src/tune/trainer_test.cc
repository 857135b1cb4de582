#include "tune/trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <barrier>
#include <cmath>
#include <thread>

#include "engine/random_model_test.h"
#include "support/data.h"
#include "tune/bpe_training.h"

namespace etch::tune {
namespace {

model::Config ToyConfig() {
  model::Config config = engine::test::OddConfig();
  config.vocab_size = 50;
  return config;
}

// Sequences of two segments that count upwards by a step of their own: learnable.
std::vector<Sequence> Counting(int64_t count) {
  std::vector<Sequence> sequences;
  for (int64_t index = 0; index < count; ++index) {
    Sequence sequence;
    sequence.segment_starts = {0, 9};
    for (int64_t token = 0; token < 20; ++token) {
      sequence.tokens.push_back(static_cast<TokenId>((index * 3 + token * (1 + index % 3)) % 50));
      sequence.trained.push_back(token % 4 == 1 ? 0 : 1);
    }
    sequences.push_back(std::move(sequence));
  }
  return sequences;
}

TrainerSettings Settings() {
  TrainerSettings settings;
  settings.optimizer.learning_rate = 1e-2;
  settings.max_steps = 12;
  settings.batch = 5;
  settings.pass_tokens = 40;
  settings.validate_every = 4;
  settings.save_every = 3;
  return settings;
}

struct Outcome {
  std::vector<float> values;
  std::vector<double> losses;
  std::vector<int64_t> validations;  // steps
  int64_t asked = 0;                 // whether it was interrupted
  TrainerResult result;
};

Outcome Train(Group& group, const TrainerSettings& settings, const std::filesystem::path& folder,
              int64_t stop_after = -1, bool resume = false, int threads = 1,
              int64_t stop_at_question = -1) {
  TrainedModel model = TrainedModel::FromScratch(ToyConfig(), 5);
  ThreadPool pool(threads);
  Trainer trainer(model, pool, group, settings, Counting(23), Counting(4), folder, "print");
  if (resume) {
    const Result<bool> resumed = trainer.Resume();
    EXPECT_TRUE(resumed && *resumed);
  }
  Outcome outcome;
  int64_t steps = 0;
  TrainerEvents events;
  events.step = [&](const StepReport& report) {
    ++steps;
    outcome.losses.push_back(report.loss);
  };
  events.validation = [&](const ValidationReport& report) {
    outcome.validations.push_back(report.step);
  };
  events.interrupted = [&] { return ++outcome.asked == stop_at_question || steps == stop_after; };
  const Result<TrainerResult> result = trainer.Run(events);
  EXPECT_TRUE(result) << (result ? "" : result.error().message);
  outcome.result = *result;
  outcome.values.assign(model.parameters().values().begin(), model.parameters().values().end());
  return outcome;
}

TEST(Trainer, LearnsToCount) {
  const auto group = MakeSingleGroup();
  TrainerSettings settings = Settings();
  settings.max_steps = 120;
  const Outcome outcome = Train(*group, settings, test::TemporaryFolder());
  EXPECT_NEAR(outcome.losses.front(), std::log(50.0), 0.3);
  EXPECT_LT(outcome.losses.back(), 0.7);
  EXPECT_EQ(outcome.result.steps, 120);
  EXPECT_GT(outcome.result.best_step, 0);
}

TEST(Trainer, AResumedRunEndsWithTheSameBits) {
  const auto group = MakeSingleGroup();
  const Outcome whole = Train(*group, Settings(), test::TemporaryFolder());
  for (const int64_t stop : {1, 3, 4, 7, 11}) {
    const std::filesystem::path folder = test::TemporaryFolder();
    const Outcome part = Train(*group, Settings(), folder, stop);
    EXPECT_TRUE(part.result.interrupted);
    const Outcome rest = Train(*group, Settings(), folder, -1, true, 3);
    EXPECT_EQ(rest.values, whole.values) << stop;
    EXPECT_EQ(part.losses.size() + rest.losses.size(), whole.losses.size());
    EXPECT_EQ(rest.losses.back(), whole.losses.back());
    EXPECT_EQ(rest.result.best_step, whole.result.best_step);
  }
}

// Inside of a pass, of a validation, or between them: nothing is left out or done twice.
TEST(Trainer, MayBeInterruptedWheneverItAsks) {
  const auto group = MakeSingleGroup();
  TrainerSettings settings = Settings();
  settings.max_steps = 4;
  settings.validate_every = 2;
  const Outcome whole = Train(*group, settings, test::TemporaryFolder());
  EXPECT_THAT(whole.validations, ::testing::ElementsAre(2, 4));
  ASSERT_GT(whole.asked, 30);
  for (int64_t question = 1; question <= whole.asked; ++question) {
    const std::filesystem::path folder = test::TemporaryFolder();
    const Outcome part = Train(*group, settings, folder, -1, false, 1, question);
    EXPECT_TRUE(part.result.interrupted);
    const Outcome rest = Train(*group, settings, folder, -1, true);
    EXPECT_EQ(rest.values, whole.values) << question;
    EXPECT_EQ(part.losses.size() + rest.losses.size(), whole.losses.size());
    EXPECT_EQ(part.validations.size() + rest.validations.size(), whole.validations.size());
    EXPECT_EQ(rest.result.best_step, whole.result.best_step);
  }
}

TEST(Trainer, ACheckpointOfAnotherRunIsRefused) {
  const auto group = MakeSingleGroup();
  const std::filesystem::path folder = test::TemporaryFolder();
  Train(*group, Settings(), folder, 4);
  TrainedModel model = TrainedModel::FromScratch(ToyConfig(), 5);
  const std::vector<float> before(model.parameters().values().begin(),
                                  model.parameters().values().end());
  ThreadPool pool(1);
  Trainer other(model, pool, *group, Settings(), Counting(23), {}, folder, "other");
  const Result<bool> resumed = other.Resume();
  ASSERT_FALSE(resumed);
  EXPECT_EQ(resumed.error().code, ErrorCode::kMismatch);
  EXPECT_TRUE(std::ranges::equal(before, model.parameters().values()));
  TrainerSettings faster = Settings();
  faster.optimizer.learning_rate *= 2.0;
  Trainer changed(model, pool, *group, faster, Counting(23), Counting(4), folder, "print");
  EXPECT_FALSE(changed.Resume());
  TrainedModel wider = TrainedModel::FromScratch(engine::test::OddConfig(), 5);
  Trainer shaped(wider, pool, *group, Settings(), Counting(23), {}, folder, "print");
  EXPECT_FALSE(shaped.Resume());
  Trainer fresh(model, pool, *group, Settings(), Counting(23), {}, test::TemporaryFolder(), "x");
  const Result<bool> nothing = fresh.Resume();
  ASSERT_TRUE(nothing);
  EXPECT_FALSE(*nothing);
}

TEST(Trainer, StopsWhenValidationNoLongerImproves) {
  const auto group = MakeSingleGroup();
  TrainerSettings settings = Settings();
  settings.optimizer.learning_rate = 0.3;  // too high: it gets worse
  settings.max_steps = 200;
  settings.validate_every = 2;
  settings.patience = 3;
  const Outcome outcome = Train(*group, settings, test::TemporaryFolder());
  EXPECT_TRUE(outcome.result.stopped_early);
  EXPECT_LT(outcome.result.steps, 200);
  EXPECT_LT(outcome.result.best_step, outcome.result.steps);
}

// Two processes as two threads that meet.
struct Meeting {
  std::barrier<> barrier{2};
  std::array<std::vector<double>, 2> values;
};

class PairGroup : public Group {
 public:
  PairGroup(Meeting& meeting, int rank) : meeting_(meeting), rank_(rank) {}
  int rank() const override { return rank_; }
  int size() const override { return 2; }
  Status AddWith(int other, std::span<float> values) override { return Add(other, values); }
  Status AddWith(int other, std::span<double> values) override { return Add(other, values); }
  void Abandon() override {}
  Result<bool> Any(bool here) override {
    std::array<double, 1> sum = {here ? 1.0 : 0.0};
    ETCH_TRY(Add(1 - rank_, std::span<double>(sum)));
    return sum[0] != 0.0;
  }

 private:
  template <class T>
  Status Add(int other, std::span<T> values) {
    meeting_.values[static_cast<size_t>(rank_)].assign(values.begin(), values.end());
    meeting_.barrier.arrive_and_wait();
    for (size_t index = 0; index < values.size(); ++index) {
      values[index] += static_cast<T>(meeting_.values[static_cast<size_t>(other)][index]);
    }
    meeting_.barrier.arrive_and_wait();
    return {};
  }

  Meeting& meeting_;
  int rank_;
};

TEST(Trainer, TwoProcessesGiveTheBitsOfOne) {
  const auto single = MakeSingleGroup();
  for (const int64_t batch : {1, 5}) {
    TrainerSettings settings = Settings();
    settings.batch = batch;
    const Outcome alone = Train(*single, settings, test::TemporaryFolder());
    Meeting meeting;
    std::array<Outcome, 2> outcomes;
    const std::filesystem::path folder = test::TemporaryFolder();
    std::thread other([&] {
      PairGroup group(meeting, 1);
      outcomes[1] = Train(group, settings, folder);
    });
    PairGroup group(meeting, 0);
    outcomes[0] = Train(group, settings, folder);
    other.join();
    EXPECT_EQ(outcomes[0].values, alone.values) << batch;
    EXPECT_EQ(outcomes[1].values, alone.values) << batch;
    EXPECT_EQ(outcomes[0].losses, alone.losses);
  }
}

TEST(Optimizer, RatesRiseAndFall) {
  OptimizerSettings settings;
  settings.learning_rate = 1.0;
  settings.warmup = 0.1;
  settings.floor = 0.2;
  settings.schedule = Schedule::kCosine;
  EXPECT_NEAR(LearningRate(settings, 0, 100), 1.0 / 11.0, 1e-12);
  EXPECT_NEAR(LearningRate(settings, 10, 100), 1.0, 1e-12);
  EXPECT_NEAR(LearningRate(settings, 55, 100), 0.6, 1e-12);
  EXPECT_NEAR(LearningRate(settings, 100, 100), 0.2, 1e-12);
  settings.schedule = Schedule::kLinear;
  EXPECT_NEAR(LearningRate(settings, 55, 100), 0.6, 1e-12);
  settings.schedule = Schedule::kConstant;
  EXPECT_NEAR(LearningRate(settings, 99, 100), 1.0, 1e-12);
  EXPECT_FALSE(ParseSchedule("cosin"));
}

// Two steps by hand (Loshchilov and Hutter 2019, algorithm 2).
TEST(Optimizer, AdamWAsThePaperHasIt) {
  Parameters parameters;
  parameters.Add("w", 1, 1, true);
  parameters.Of(0)[0] = 2.0F;
  AdamW optimizer(parameters);
  OptimizerSettings settings;
  settings.weight_decay = 0.1;
  ThreadPool pool(1);
  std::vector<float> gradient(parameters.values().size());
  gradient[0] = 0.5F;
  optimizer.Step(pool, settings, 0.01, 2.0, gradient, parameters);  // slope 1
  double m = 0.1;
  double v = 0.001;
  double w = 2.0 * (1.0 - 0.001) - 0.01 * (m / 0.1) / (std::sqrt(v / 0.001) + 1e-8);
  EXPECT_NEAR(parameters.Of(0)[0], w, 1e-6);
  gradient[0] = -1.0F;
  optimizer.Step(pool, settings, 0.01, 2.0, gradient, parameters);  // slope -2
  m = 0.9 * m + 0.1 * -2.0;
  v = 0.999 * v + 0.001 * 4.0;
  w = w * (1.0 - 0.001) - 0.01 * (m / 0.19) / (std::sqrt(v / (1.0 - 0.998001)) + 1e-8);
  EXPECT_NEAR(parameters.Of(0)[0], w, 1e-6);
}

}  // namespace
}  // namespace etch::tune
