#include "engine/speculation.h"

#include <gtest/gtest.h>

#include <functional>
#include <random>

namespace etch::engine {
namespace {

constexpr PassPlan kAlone{1, 1, 1.0};

Acceptance Seen(int64_t match, bool accepted, int times) {
  Acceptance acceptance;
  for (int index = 0; index < times; ++index) {
    acceptance.Observe(match, accepted);
  }
  return acceptance;
}

PassCost Measured(const std::function<double(int64_t)>& seconds) {
  PassCost cost;
  for (const int64_t columns : {1, 2, 4, 9}) {
    cost.Record(columns, seconds(columns));
  }
  EXPECT_TRUE(cost.ProbeIsDue());
  cost.StartProbe();
  EXPECT_FALSE(cost.ProbeIsDue());
  return cost;
}

TEST(PassCost, InterpolatesWhatWasMeasured) {
  PassCost cost;
  EXPECT_EQ(cost.Seconds(1), 0.0);
  cost.Record(2, 3.0);
  EXPECT_DOUBLE_EQ(cost.Seconds(2), 3.0);
  EXPECT_DOUBLE_EQ(cost.Seconds(4), 6.0);  // one size known: proportional
  EXPECT_DOUBLE_EQ(cost.Seconds(1), 1.5);
  cost.Record(6, 5.0);
  EXPECT_DOUBLE_EQ(cost.Seconds(4), 4.0);
  EXPECT_DOUBLE_EQ(cost.Seconds(8), 6.0);
  EXPECT_DOUBLE_EQ(cost.Seconds(1), 2.5);
  EXPECT_DOUBLE_EQ(cost.Seconds(70), 37.0);
  cost.Record(100, 1.0);  // larger than what is kept
  EXPECT_DOUBLE_EQ(cost.Seconds(70), 37.0);
}

TEST(PassCost, FollowsAChangeAndShrugsOffOneOutlier) {
  PassCost cost;
  for (int pass = 0; pass < 20; ++pass) {
    cost.Record(1, 1.0);
  }
  cost.Record(1, 1000.0);
  EXPECT_LE(cost.Seconds(1), 1.3);
  for (int pass = 0; pass < 60; ++pass) {
    cost.Record(1, 2.0);
  }
  EXPECT_NEAR(cost.Seconds(1), 2.0, 0.01);
}

TEST(Acceptance, LearnsEachMatchLengthByItself) {
  const Acceptance acceptance = Seen(4, true, 100);
  EXPECT_GT(acceptance.Probability(4), 0.95);
  EXPECT_LT(acceptance.Probability(2), 0.5);
  EXPECT_LT(Seen(8, false, 100).Probability(20), 0.05);  // beyond the cap is the cap
}

TEST(Acceptance, ExpectsTheProductOfItsShares) {
  const Acceptance fresh;
  EXPECT_DOUBLE_EQ(fresh.Expected(2, 0), 0.0);
  EXPECT_DOUBLE_EQ(fresh.Expected(2, 1), 0.2);
  EXPECT_DOUBLE_EQ(fresh.Expected(2, 3), 0.2 + 0.2 * 0.3 + 0.2 * 0.3 * 0.4);
}

TEST(ChooseDraft, DraftsFarWhereColumnsAreCheap) {
  PassCost cheap = Measured([](int64_t columns) { return 1.0 + 0.01 * double(columns - 1); });
  PassPlan plan = kAlone;
  EXPECT_EQ(ChooseDraft(Speculation::kAuto, cheap, Seen(8, true, 100), 8, 8, plan), 8);
  EXPECT_EQ(plan.columns, 9);
  EXPECT_GT(plan.tokens, 7.0);
  plan = kAlone;
  EXPECT_EQ(ChooseDraft(Speculation::kAuto, cheap, Seen(8, true, 100), 8, 3, plan), 3);
  plan = kAlone;
  EXPECT_EQ(ChooseDraft(Speculation::kOff, cheap, Seen(8, true, 100), 8, 8, plan), 0);
  EXPECT_EQ(ChooseDraft(Speculation::kAuto, cheap, Seen(8, true, 100), 0, 8, plan), 0);
  EXPECT_EQ(plan.columns, 1);
}

TEST(ChooseDraft, StaysOffWhereColumnsCostAsMuchAsPasses) {
  PassCost dear = Measured([](int64_t columns) { return double(columns); });
  PassPlan plan = kAlone;
  EXPECT_EQ(ChooseDraft(Speculation::kAuto, dear, Seen(8, true, 100), 8, 8, plan), 0);
  plan = kAlone;
  EXPECT_EQ(ChooseDraft(Speculation::kAlways, dear, Seen(8, false, 100), 8, 8, plan), 8);
}

TEST(ChooseDraft, FindsTheBestLengthBetween) {
  // At a share of 1/2 (the prior of 5 is 1/2, of 6 0.6 …) a column at 0.3 pays for one or two.
  PassCost cost = Measured([](int64_t columns) { return 1.0 + 0.3 * double(columns - 1); });
  Acceptance half;
  for (int64_t match = 2; match <= 8; ++match) {
    for (int index = 0; index < 200; ++index) {
      half.Observe(match, index % 2 == 0);
    }
  }
  PassPlan plan = kAlone;
  const int64_t chosen = ChooseDraft(Speculation::kAuto, cost, half, 5, 8, plan);
  EXPECT_GE(chosen, 1);
  EXPECT_LE(chosen, 2);
}

TEST(ChooseDraft, CountsTheWholeBatch) {
  // Eight sequences; the ninth column costs as much as a pass of eight: one token more for twice
  // the time is no gain, though alone it would be.
  PassCost cost;
  cost.Record(1, 1.0);
  cost.Record(2, 1.1);
  cost.Record(8, 2.0);
  cost.Record(9, 4.0);
  cost.StartProbe();
  PassPlan plan{8, 8, 8.0};
  EXPECT_EQ(ChooseDraft(Speculation::kAuto, cost, Seen(8, true, 100), 8, 1, plan), 0);
  plan = kAlone;
  EXPECT_EQ(ChooseDraft(Speculation::kAuto, cost, Seen(8, true, 100), 8, 1, plan), 1);
  plan = {PassCost::kMaxColumns, PassCost::kMaxColumns, double(PassCost::kMaxColumns)};
  EXPECT_EQ(ChooseDraft(Speculation::kAlways, cost, Seen(8, true, 100), 8, 1, plan), 0);
}

// Runs the policy on a text of which a share of the proposals is right, on a machine where a pass
// of c columns takes seconds(c). Returns time without speculation ÷ time with it.
double Simulate(const std::function<double(int64_t)>& seconds, double right, double match_share,
                int64_t match, int64_t tokens) {
  std::mt19937 random(5);
  std::uniform_real_distribution<double> uniform(0.0, 1.0);
  PassCost cost;
  Acceptance acceptance;
  double spent = 0.0;
  int64_t drawn = 0;
  while (drawn < tokens) {
    PassPlan plan = kAlone;
    const int64_t found = uniform(random) < match_share ? match : 0;
    const int64_t length =
        ChooseDraft(Speculation::kAuto, cost, acceptance, found, kMaxDraft, plan);
    const double pass = seconds(1 + length) * (0.9 + 0.2 * uniform(random));
    spent += pass;
    cost.Record(1 + length, pass);
    int64_t accepted = 0;
    bool good = true;
    for (int64_t index = 0; found > 0 && good && index <= length && index < kMaxDraft; ++index) {
      good = uniform(random) < right;
      acceptance.Observe(found + index, good);
      accepted += good && index < length ? 1 : 0;
    }
    drawn += 1 + accepted;
  }
  return seconds(1) * double(drawn) / spent;
}

TEST(Policy, LosesAtMostTwoPercentWhereNothingIsToBeGained) {
  const auto dear = [](int64_t columns) { return double(columns); };
  const auto cheap = [](int64_t columns) { return 1.0 + 0.03 * double(columns - 1); };
  for (const int64_t match : {2, 4, 8}) {
    for (const double share : {0.05, 0.5, 1.0}) {
      // Nothing that is proposed is right, whatever a column costs.
      EXPECT_GT(Simulate(dear, 0.0, share, match, 2000), 0.98) << match << " " << share;
      EXPECT_GT(Simulate(cheap, 0.0, share, match, 2000), 0.98) << match << " " << share;
      // All is right, and a column costs as much as a pass.
      EXPECT_GT(Simulate(dear, 1.0, share, match, 2000), 0.98) << match << " " << share;
      EXPECT_GT(Simulate(dear, 0.6, share, match, 2000), 0.98) << match << " " << share;
    }
  }
}

TEST(Policy, GainsWhereTextRepeatsAndColumnsAreCheap) {
  const auto cheap = [](int64_t columns) { return 1.0 + 0.03 * double(columns - 1); };
  EXPECT_GT(Simulate(cheap, 0.95, 1.0, 8, 1000), 4.0);
  EXPECT_GT(Simulate(cheap, 0.5, 0.5, 4, 1000), 1.15);
  // A staircase: up to eight columns cost as much as two.
  const auto stairs = [](int64_t columns) { return columns == 1 ? 1.0 : columns <= 8 ? 1.8 : 3.0; };
  EXPECT_GT(Simulate(stairs, 0.95, 1.0, 8, 1000), 2.0);
}

TEST(Policy, ProbesAgainWhenTheMachineChanges) {
  int64_t passes = 0;  // dear at first, then the load of the machine changes
  const auto changing = [&passes](int64_t columns) {
    return ++passes < 400 ? double(columns) : 1.0 + 0.03 * double(columns - 1);
  };
  EXPECT_GT(Simulate(changing, 0.95, 1.0, 8, 8000), 2.0);
}

}  // namespace
}  // namespace etch::engine
