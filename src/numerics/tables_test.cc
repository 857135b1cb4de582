#include "numerics/tables.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "numerics/fixed_point.h"

namespace etch::numerics {
namespace {

using ::testing::HasSubstr;

TEST(Tables, EndsAreExact) {
  const FunctionTables tables = BuildFunctionTables();
  EXPECT_EQ(tables.exp2.front(), 1 << 24);
  EXPECT_EQ(tables.exp2[32], 11863283);  // 2^24 / sqrt(2)
  EXPECT_EQ(tables.exp2.back(), 1 << 23);
  EXPECT_EQ(tables.sigmoid.front(), 0);
  EXPECT_EQ(tables.sigmoid[256], 1 << 15);
  EXPECT_EQ(tables.sigmoid.back(), 1 << 16);
  for (size_t index = 1; index < 512; ++index) {
    EXPECT_EQ(tables.sigmoid[index] + tables.sigmoid[512 - index], 1 << 16) << index;
  }
  EXPECT_LT(tables.rsqrt.front(), 1 << 30);
  EXPECT_GT(tables.rsqrt.back(), 1 << 29);
  EXPECT_TRUE(Validate(tables).has_value());
}

TEST(Tables, ThoseThatBreakTheProofsAreRefused) {
  const auto refused = [](auto change, const char* name) {
    FunctionTables tables = BuildFunctionTables();
    change(tables);
    const Status status = Validate(tables);
    ASSERT_FALSE(status.has_value()) << name;
    EXPECT_EQ(status.error().code, ErrorCode::kMalformed);
    EXPECT_THAT(status.error().message, HasSubstr(name));
  };
  refused([](FunctionTables& tables) { tables.exp2[0] += 1; }, "exp2");
  refused([](FunctionTables& tables) { tables.exp2[9] = tables.exp2[8] + 1; }, "exp2");
  refused([](FunctionTables& tables) { tables.exp2[64] = 0; }, "exp2");
  refused([](FunctionTables& tables) { tables.sigmoid[0] = 1; }, "sigmoid");
  refused([](FunctionTables& tables) { tables.sigmoid[512] -= 1; }, "sigmoid");
  refused([](FunctionTables& tables) { tables.sigmoid[7] = -1; }, "sigmoid");
  refused([](FunctionTables& tables) { tables.rsqrt[0] = (1 << 30) + 1; }, "reciprocal");
  refused([](FunctionTables& tables) { tables.rsqrt[191] = 1 << 29; }, "reciprocal");
  refused([](FunctionTables& tables) { tables.rsqrt[5] = tables.rsqrt[4] + 1; }, "reciprocal");
}

// Every position of the longest context: the composition errs by its one rounding (2^-15) and by
// what two entries of 30 bits lose.
TEST(Tables, ComposedRotationsAreRightAtEveryPosition) {
  model::Config config;
  config.head_dim = 8;
  config.rope_theta = 500000.0;
  config.context = model::kMaxContext;
  const RopeTables tables = BuildRopeTables(config);
  ASSERT_EQ(tables.pairs, 4);
  ASSERT_EQ(tables.high.size(), 512U * 4U);
  ASSERT_EQ(tables.low.size(), 256U * 4U);
  constexpr double kBound = 0x1p-15 + 4 * 0x1p-30;
  for (int64_t position = 0; position < config.context; ++position) {
    for (int64_t pair = 0; pair < tables.pairs; ++pair) {
      const Rotation rotation =
          ComposeRotation(tables.high[static_cast<size_t>(position / 256 * 4 + pair)],
                          tables.low[static_cast<size_t>(position % 256 * 4 + pair)]);
      const double angle = static_cast<double>(position) * model::RopeFrequency(config, pair);
      ASSERT_NEAR(rotation.cosine * 0x1p-14, std::cos(angle), kBound) << position;
      ASSERT_NEAR(rotation.sine * 0x1p-14, std::sin(angle), kBound) << position;
      ASSERT_LE(std::max(std::abs(rotation.cosine), std::abs(rotation.sine)), 1 << 14);
    }
  }
}

TEST(Tables, ShortContextsHaveOneHighRow) {
  model::Config config;
  config.head_dim = 2;
  for (const auto& [context, rows] : {std::pair<int64_t, size_t>{1, 1}, {256, 1}, {257, 2}}) {
    config.context = context;
    EXPECT_EQ(BuildRopeTables(config).high.size(), rows);
  }
}

// Contract §14: entries of ±2^30 in any combination keep the sums inside 2^61.
TEST(Tables, CompositionReachesItsBound) {
  constexpr int32_t kOne = 1 << 30;
  EXPECT_EQ(ComposeRotation({kOne, 0}, {kOne, 0}), (Rotation{1 << 14, 0}));
  EXPECT_EQ(ComposeRotation({0, kOne}, {0, kOne}), (Rotation{-(1 << 14), 0}));
  EXPECT_EQ(ComposeRotation({kOne, -kOne}, {kOne, kOne}), (Rotation{1 << 15, 0}));
  EXPECT_EQ(ComposeRotation({-kOne, kOne}, {kOne, kOne}), (Rotation{-(1 << 15), 0}));
  EXPECT_EQ(ComposeRotation({kOne, kOne}, {kOne, kOne}), (Rotation{0, 1 << 15}));
}

}  // namespace
}  // namespace etch::numerics
