#include "numerics/rope.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <cstdlib>
#include <vector>

#include "numerics/fixed_point.h"

namespace etch::numerics {
namespace {

TEST(Rope, PositionZeroIsTheIdentity) {
  model::Config config;
  config.head_dim = 8;
  config.context = 600;
  const RopeTables tables = BuildRopeTables(config);
  std::vector<Rotation> rotations(4);
  RotationsAt(tables.high, tables.low, 4, 0, rotations);
  EXPECT_EQ(rotations, std::vector<Rotation>(4, {1 << 14, 0}));
  std::vector<int32_t> head = {1, -2, kMax32, -kMax32, 5, 6, 7, 8};
  const std::vector<int32_t> before = head;
  RotateHead(rotations, head);
  EXPECT_EQ(head, before);
}

TEST(Rope, PositionsPickTheirRows) {
  model::Config config;
  config.head_dim = 8;
  config.context = 600;
  const RopeTables tables = BuildRopeTables(config);
  for (const int64_t position : {1, 255, 256, 257, 599}) {
    std::vector<Rotation> rotations(4);
    RotationsAt(tables.high, tables.low, 4, position, rotations);
    for (int64_t pair = 0; pair < 4; ++pair) {
      const double angle =
          static_cast<double>(position) * std::pow(10000.0, -0.25 * static_cast<double>(pair));
      EXPECT_NEAR(rotations[static_cast<size_t>(pair)].cosine, std::cos(angle) * 16384, 0.51);
      EXPECT_NEAR(rotations[static_cast<size_t>(pair)].sine, std::sin(angle) * 16384, 0.51);
    }
  }
}

TEST(Rope, AdjacentPairsTurnTogether) {
  const std::vector<Rotation> quarter = {{0, 1 << 14}, {1 << 14, 0}};
  std::vector<int32_t> head = {100, 7, 30, 40};
  RotateHead(quarter, head);
  EXPECT_EQ(head, (std::vector<int32_t>{-7, 100, 30, 40}));
}

// Contract §14: the sum of two products stays inside 2^47 even for rotations of 2^15.
TEST(Rope, SumsReachTheirBoundAndSaturate) {
  std::vector<int32_t> head = {kMax32, -kMax32};
  RotateHead(std::vector<Rotation>{{1 << 15, 1 << 15}}, head);
  const int64_t sum = 2 * (int64_t{kMax32} << 15);
  EXPECT_LT(sum, int64_t{1} << 47);
  EXPECT_EQ(head, (std::vector<int32_t>{kMax32, 0}));
  const auto [cosine, sine] = Rotation{11585, 11585};
  head = {kMax32, kMax32};
  RotateHead(std::vector<Rotation>{{cosine, sine}}, head);
  EXPECT_EQ(head, (std::vector<int32_t>{0, kMax32}));
}

RC_GTEST_PROP(RopeProperty, AgreesWithWideArithmetic, (int32_t even, int32_t odd)) {
  __extension__ using Wide = __int128;
  const int32_t cosine = *rc::gen::inRange(-32768, 32769);
  const int32_t sine = *rc::gen::inRange(-32768, 32769);
  std::vector<int32_t> head = {std::max(even, -kMax32), std::max(odd, -kMax32)};
  const auto exact = [](Wide sum) { return Saturate32(static_cast<int64_t>((sum + 8192) >> 14)); };
  const int32_t want_even = exact(Wide{head[0]} * cosine - Wide{head[1]} * sine);
  const int32_t want_odd = exact(Wide{head[0]} * sine + Wide{head[1]} * cosine);
  RotateHead(std::vector<Rotation>{{cosine, sine}}, head);
  RC_ASSERT((head[0] == want_even && head[1] == want_odd));
}

}  // namespace
}  // namespace etch::numerics
