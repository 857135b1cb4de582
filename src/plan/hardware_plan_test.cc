#include "plan/hardware_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "image/random_image_test.h"

namespace etch::plan {
namespace {

using image::test::OddConfig;
using image::test::RandomImage;

Choices Small() {
  Choices choices;
  choices.lanes = 16;
  choices.context = 32;
  choices.sessions = 2;
  choices.adapter_rank = 8;
  choices.adapter_slots = 2;
  return choices;
}

TEST(HardwarePlan, LaysEverythingOutWithoutOverlap) {
  const auto image = RandomImage(OddConfig(), 1, numerics::WeightFormat::kW3);
  const Result<HardwarePlan> plan = MakePlan(*image, Small());
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(plan->fabric.rank, 32) << "whole groups";
  int64_t words = 0;
  int64_t rows = 0;
  for (const MatrixPlace& place : plan->matrices) {
    EXPECT_EQ(place.code_base, words);
    EXPECT_EQ(place.row_base, rows);
    words += place.code_words(16);
    rows += (place.rows + 15) / 16 * 16;
  }
  EXPECT_EQ(plan->code_words, words);
  EXPECT_EQ(plan->row_words, rows);
  EXPECT_EQ(plan->matrices.size(), 2U + 2U * 7U);
  // A and B of the seven layers of two blocks, a rank of 32.
  EXPECT_EQ(plan->adapter.size(), 14U);
  EXPECT_EQ(plan->adapter[1].a_words - plan->adapter[0].a_words, 64 + 64);  // 48 columns, 48 rows
  EXPECT_EQ(plan->fabric.work_words, 48 * 5 + 24 * 2 + 172 * 2 + 32);
}

TEST(HardwarePlan, ATokenIsTheSumOfItsSteps) {
  const auto image = RandomImage(OddConfig(), 1, numerics::WeightFormat::kW3);
  const Result<HardwarePlan> plan = MakePlan(*image, Small());
  ASSERT_TRUE(plan) << plan.error().message;
  const auto sum = [&](int64_t position, bool adapter, bool wanted) {
    int64_t cycles = 0;
    for (const Step& step : plan->steps) {
      if ((adapter || !step.adapter_only) && (wanted || !step.wanted_only)) {
        cycles += StepCycles(*plan, step, position);
      }
    }
    return cycles + 3 * std::ssize(plan->steps) + (wanted ? 4 : 3);
  };
  for (const int64_t position : {0, 31}) {
    for (const bool adapter : {false, true}) {
      for (const bool wanted : {false, true}) {
        EXPECT_EQ(TokenCycles(*plan, position, adapter, wanted), sum(position, adapter, wanted));
      }
    }
  }
  // A later token costs two cycles a head, layer and key more, and nothing else.
  EXPECT_EQ(TokenCycles(*plan, 31, false, true) - TokenCycles(*plan, 0, false, true),
            31 * 2 * 6 * 2);
  std::set<Operation> used;
  for (const Step& step : plan->steps) {
    used.insert(step.operation);
  }
  EXPECT_EQ(used.size(), 11U);
}

TEST(HardwarePlan, MoreLanesAreFewerCycles) {
  const auto image = RandomImage(OddConfig(), 1, numerics::WeightFormat::kW3);
  int64_t before = 0;
  for (const int64_t lanes : {8, 16, 32, 64}) {
    Choices choices = Small();
    choices.lanes = lanes;
    const Result<HardwarePlan> plan = MakePlan(*image, choices);
    ASSERT_TRUE(plan);
    const int64_t cycles = TokenCycles(*plan, 0, false, true);
    EXPECT_TRUE(before == 0 || cycles < before) << lanes;
    before = cycles;
  }
}

TEST(HardwarePlan, ALaneStepsOnceAPlaneAndByte) {
  Step step;
  step.operation = Operation::kBase;
  step.n = 40;
  step.groups = 3;
  const auto image = RandomImage(OddConfig(), 1, numerics::WeightFormat::kW3);
  const Result<HardwarePlan> plan = MakePlan(*image, Small());
  ASSERT_TRUE(plan) << plan.error().message;
  // Three tiles of 16 lanes, the last of 8 rows.
  const auto expect = [&](bool w6, bool a16, int64_t steps) {
    step.w6 = w6;
    step.a16 = a16;
    EXPECT_EQ(ColumnSteps(step), steps);
    EXPECT_EQ(StepCycles(*plan, step, 0), 3 * 3 * 32 * steps + 8 + 8);
  };
  expect(false, false, 1);
  expect(true, false, 2);
  expect(false, true, 2);
  expect(true, true, 4);
  // The lanes of adapters take a weight and a whole input a step.
  step.operation = Operation::kAdapter;
  EXPECT_EQ(StepCycles(*plan, step, 0), 2 * 3 * 32 + 8 + 10);
}

TEST(HardwarePlan, MaskBitsAreTheBitsOfTheWeights) {
  for (const auto format : {numerics::WeightFormat::kW3, numerics::WeightFormat::kW6}) {
    const auto image = RandomImage(OddConfig(), 1, format);
    const Result<HardwarePlan> plan = MakePlan(*image, Small());
    ASSERT_TRUE(plan);
    for (const MatrixPlace& place : plan->matrices) {
      const numerics::WeightView view = image->Weights(place.role, place.layer);
      const int64_t bits = view.format == numerics::WeightFormat::kW6 ? 6 : 3;
      const int64_t padded = (view.cols + 31) / 32 * 32;
      EXPECT_EQ(place.code_bits(), view.rows * padded * bits);
      EXPECT_EQ(place.param_bits(), view.rows * padded / 32 * 6);
    }
  }
}

TEST(HardwarePlan, RowsAreSharedByLanesThatAreLeftOver) {
  EXPECT_EQ(Segments(4096, 128, 4096, 64), 1);
  EXPECT_EQ(Segments(4096, 128, 2048, 64), 1) << "more rows than lanes";
  EXPECT_EQ(Segments(4096, 128, 65536, 64), 16);
  EXPECT_EQ(Segments(4096, 128, 65536, 8), 8);
  EXPECT_EQ(Segments(100, 3, 65536, 64), 2) << "one a group at most";
  const auto image = RandomImage(OddConfig(), 1, numerics::WeightFormat::kW3);
  Choices choices = Small();
  choices.lanes = 4096;
  const int64_t narrow = TokenCycles(*MakePlan(*image, choices), 0, false, true);
  choices.splits = 4;
  EXPECT_LT(TokenCycles(*MakePlan(*image, choices), 0, false, true), narrow);
  choices.vector_width = 8;
  choices.attention_width = 16;
  EXPECT_LT(TokenCycles(*MakePlan(*image, choices), 0, false, true), narrow / 2);
}

TEST(HardwarePlan, WhatCannotBeBuiltIsRefused) {
  const auto image = RandomImage(OddConfig(), 1, numerics::WeightFormat::kW3);
  const auto message = [&](auto change) {
    Choices choices = Small();
    change(choices);
    const Result<HardwarePlan> plan = MakePlan(*image, choices);
    return plan ? std::string() : plan.error().message;
  };
  using ::testing::HasSubstr;
  EXPECT_EQ(message([](Choices&) {}), "");
  EXPECT_THAT(message([](Choices& c) { c.lanes = 48; }), HasSubstr("48 lanes: a power of two"));
  EXPECT_THAT(message([](Choices& c) { c.lanes = 4; }), HasSubstr("4 lanes"));
  EXPECT_THAT(message([](Choices& c) { c.context = 321; }), HasSubstr("the model's is 320"));
  EXPECT_THAT(message([](Choices& c) { c.sessions = 0; }), HasSubstr("0 sessions"));
  EXPECT_THAT(message([](Choices& c) { c.adapter_rank = 49; }), HasSubstr("rank 49"));
  EXPECT_THAT(message([](Choices& c) { c.adapter_slots = 0; }), HasSubstr("0 adapter slots"));
  EXPECT_EQ(message([](Choices& c) { c.adapter_slots = c.adapter_rank = 0; }), "");
  EXPECT_THAT(message([](Choices& c) { c.stages = 3; }), HasSubstr("3 layers in flight: 1 to 2"));
  EXPECT_THAT(message([](Choices& c) { c.vector_width = 0; }), HasSubstr("0 elements"));
  const Result<HardwarePlan> floats = MakePlan(*RandomImage(OddConfig(), 2), Small());
  ASSERT_FALSE(floats);
  EXPECT_THAT(floats.error().message, HasSubstr("is W4F; a chip holds W3 and W6"));
}

}  // namespace
}  // namespace etch::plan
