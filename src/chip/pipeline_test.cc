#include "chip/pipeline.h"

#include <gtest/gtest.h>

#include "chip/chip_fixture_test.h"

namespace etch::chip {
namespace {

plan::HardwarePlan PlanOf(int64_t lanes, int64_t context, int64_t stages = 1) {
  Design design = test::SmallDesign();
  design.choices.lanes = lanes;
  design.choices.context = context;
  design.choices.stages = stages;
  Result<plan::HardwarePlan> plan = plan::MakePlan(design.shape, design.choices);
  EXPECT_TRUE(plan) << plan.error().message;
  return *std::move(plan);
}

// The Verilated chip takes TokenCycles (e2e/rtl compares them); so does the simulation.
TEST(Pipeline, OneStageTakesTheCyclesOfTheFabric) {
  for (const int64_t lanes : {16, 64, 256}) {
    for (const int64_t context : {64, 256}) {
      for (const bool adapter : {false, true}) {
        const plan::HardwarePlan plan = PlanOf(lanes, context);
        const Load load{1, 12, 20, adapter, 0};
        int64_t cycles = plan::kStartCycles;
        for (int64_t position = 0; position < 12 + 20 - 1; ++position) {
          cycles += plan::TokenCycles(plan, position, adapter, position >= 11);
        }
        EXPECT_EQ(Simulate(plan, {}, load).cycles, cycles)
            << lanes << " lanes, context " << context << (adapter ? ", adapter" : "");
      }
    }
  }
}

TEST(Pipeline, UsersShareOneStageFairly) {
  const plan::HardwarePlan plan = PlanOf(64, 128);
  const PipelineResult one = Simulate(plan, {}, {1, 4, 32, false, 0});
  const PipelineResult four = Simulate(plan, {}, {4, 4, 32, false, 0});
  // Four users wait for each other: the chip's rate is one user's.
  EXPECT_NEAR(four.cycles_per_token / one.cycles_per_token, 4.0, 0.2);
  EXPECT_NEAR(four.tokens_per_cycle / one.tokens_per_cycle, 1.0, 0.1);
  EXPECT_GT(one.busy[0], 0.99);
}

TEST(Pipeline, StagesWorkForSeveralUsersAtOnce) {
  const plan::HardwarePlan plan = PlanOf(64, 128, 2);
  const PipelineResult one = Simulate(plan, {}, {1, 4, 64, false, 0});
  const PipelineResult two = Simulate(plan, {}, {2, 4, 64, false, 0});
  const PipelineResult flat = Simulate(PlanOf(64, 128), {}, {1, 4, 64, false, 0});
  EXPECT_NEAR(one.cycles_per_token / flat.cycles_per_token, 1.0, 1e-9) << "a user gains nothing";
  EXPECT_GT(two.tokens_per_cycle, 1.5 * one.tokens_per_cycle);
  // A prompt fills the stages by itself: its tokens follow each other.
  EXPECT_LT(one.prompt_cycles_per_token, 0.8 * flat.prompt_cycles_per_token);
  EXPECT_EQ(two.busy.size(), 2U);
}

TEST(Pipeline, LinksAreWaitedForOnceAChipAndToken) {
  const plan::HardwarePlan plan = PlanOf(64, 128, 2);
  PipelineOptions options;
  const double without = Simulate(plan, options, {1, 4, 16, false, 0}).cycles_per_token;
  options.chips = 2;
  options.link_cycles = 1000;
  const double with = Simulate(plan, options, {1, 4, 16, false, 0}).cycles_per_token;
  EXPECT_DOUBLE_EQ(with - without, 2000.0) << "there and back";
}

TEST(Pipeline, ContextGrowthAdaptersSwapsAndBatchesCost) {
  const plan::HardwarePlan plan = PlanOf(64, 128);
  const auto run = [&](const Load& load, int64_t batch = 1) {
    PipelineOptions options;
    options.prompt_batch = batch;
    return Simulate(plan, options, load);
  };
  // Two cycles a head and layer for every key.
  const double early = run({1, 1, 2, false, 0}).cycles_per_token;
  const double late = run({1, 101, 2, false, 0}).cycles_per_token;
  EXPECT_DOUBLE_EQ(late - early, 100.0 * 2.0 * 2.0 * 2.0);
  EXPECT_GT(run({1, 8, 8, true, 0}).cycles, run({1, 8, 8, false, 0}).cycles);
  EXPECT_DOUBLE_EQ(run({1, 8, 8, true, 500}).first_token_cycles -
                       run({1, 8, 8, true, 0}).first_token_cycles,
                   500.0);
  const double single = run({1, 64, 2, false, 0}).prompt_cycles_per_token;
  const double batched = run({1, 64, 2, false, 0}, 8).prompt_cycles_per_token;
  EXPECT_LT(batched, 0.8 * single);
  EXPECT_EQ(run({1, 64, 2, false, 0}, 8).cycles_per_token,
            run({1, 64, 2, false, 0}).cycles_per_token);
}

}  // namespace
}  // namespace etch::chip
