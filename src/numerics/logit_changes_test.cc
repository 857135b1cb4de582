#include "numerics/logit_changes.h"

#include <gtest/gtest.h>

#include <limits>

namespace etch::numerics {
namespace {

std::vector<int32_t> Apply(ChangedLogits& changes, const std::vector<int32_t>& logits) {
  const auto out = changes.Apply(logits);
  return {out.begin(), out.end()};
}

TEST(LogitChanges, NoneLeaveTheLogitsWhereTheyAre) {
  ChangedLogits none({});
  const std::vector<int32_t> logits = {1, 2, 3};
  none.Drawn(1);
  EXPECT_EQ(none.Apply(logits).data(), logits.data());
}

TEST(LogitChanges, BiasAndPenaltiesAddUpAndSaturate) {
  ChangedLogits changes({{{0, 5}, {2, -7}, {9, 1}}, 10, 100});
  const std::vector<int32_t> logits = {0, 0, 0};
  EXPECT_EQ(Apply(changes, logits), (std::vector<int32_t>{5, 0, -7}));
  changes.Drawn(0);
  changes.Drawn(1);
  changes.Drawn(1);
  EXPECT_EQ(Apply(changes, logits), (std::vector<int32_t>{5 - 110, -210, -7}));
  constexpr int32_t kLow = std::numeric_limits<int32_t>::min();
  EXPECT_EQ(Apply(changes, {kLow, kLow + 5, kLow}), (std::vector<int32_t>{kLow, kLow, kLow}));
}

TEST(LogitChanges, ALogitIsTheNearestSixteenthBit) {
  EXPECT_EQ(ToLogit(0.5), 1 << 15);
  EXPECT_EQ(ToLogit(-100.0), -100 * 65536);
  EXPECT_EQ(ToLogit(1e-6), 0);
}

}  // namespace
}  // namespace etch::numerics
