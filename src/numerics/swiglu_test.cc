#include "numerics/swiglu.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <cstdlib>

#include "numerics/fixed_point.h"

namespace etch::numerics {
namespace {

const FunctionTables kTables = BuildFunctionTables();

// Interpolating between steps of 1/16 errs by at most max|sigmoid''|/8 · (1/16)², and sigmoid'' is
// at most 1/(6·√3); one entry and one interpolation are rounded, each by half a unit.
double SigmoidError() { return 1.0 / (6.0 * std::sqrt(3.0)) / 8.0 / 256.0 + 0x1p-16; }

TEST(SwiGlu, SigmoidIsRightOverItsWholeDomain) {
  const double bound = SigmoidError();
  int32_t before = 0;
  for (int32_t x = -(16 << 16) - 3; x <= (16 << 16) + 3; ++x) {
    const int32_t got = Sigmoid(x, kTables);
    const double want = 1.0 / (1.0 + std::exp(-x * 0x1p-16));
    ASSERT_NEAR(got * 0x1p-16, want, bound) << x;
    ASSERT_GE(got, before) << x;
    ASSERT_LE(got, 1 << 16);
    before = got;
  }
}

TEST(SwiGlu, SigmoidIsPinnedBeyondItsEnds) {
  EXPECT_EQ(Sigmoid(-(16 << 16), kTables), 0);
  EXPECT_EQ(Sigmoid(-kMax32, kTables), 0);
  EXPECT_EQ(Sigmoid(INT32_MIN, kTables), 0);
  EXPECT_EQ(Sigmoid(16 << 16, kTables), 1 << 16);
  EXPECT_EQ(Sigmoid(kMax32, kTables), 1 << 16);
  EXPECT_EQ(Sigmoid(0, kTables), 1 << 15);
}

// Contract §14: |product| reaches (2^31 - 1)² < 2^62, and with no tables that pass Validate() more.
TEST(SwiGlu, ProductsReachTheirBound) {
  const int64_t largest = int64_t{kMax32} * kMax32;
  EXPECT_EQ(SwiGlu(kMax32, kMax32, kTables), largest);
  EXPECT_EQ(SwiGlu(kMax32, -kMax32, kTables), -largest);
  EXPECT_LT(largest, int64_t{1} << 62);
  EXPECT_EQ(SwiGlu(-kMax32, kMax32, kTables), 0);
  FunctionTables steep = kTables;
  for (size_t index = 1; index < steep.sigmoid.size(); ++index) {
    steep.sigmoid[index] = 1 << 16;
  }
  ASSERT_TRUE(Validate(steep).has_value());
  for (int32_t gate = -(16 << 16); gate <= 16 << 16; gate += 997) {
    EXPECT_LE(std::abs(SwiGlu(gate, kMax32, steep)), std::abs(int64_t{gate}) * kMax32);
  }
}

TEST(SwiGlu, HandChecked) {
  EXPECT_EQ(SwiGlu(0, 12345, kTables), 0);
  EXPECT_EQ(SwiGlu(20 << 16, 3 << 16, kTables), int64_t{60} << 32);
  EXPECT_EQ(SwiGlu(1 << 12, 2, kTables),
            2 * RoundShiftRight(int64_t{4096} * kTables.sigmoid[257], 16));
}

RC_GTEST_PROP(SwiGluProperty, IsCloseToTheRealFunction, ()) {
  const auto gate = *rc::gen::inRange<int32_t>(-(40 << 16), 40 << 16);
  const auto up = *rc::gen::inRange<int32_t>(-(40 << 16), 40 << 16);
  const double real_gate = gate * 0x1p-16;
  const double real_up = up * 0x1p-16;
  const double want = real_gate / (1.0 + std::exp(-real_gate)) * real_up;
  const double got = static_cast<double>(SwiGlu(gate, up, kTables)) * 0x1p-32;
  RC_ASSERT(std::fabs(got - want) <=
            std::fabs(real_up) * (std::fabs(real_gate) * SigmoidError() + 0x1p-17) + 1e-12);
}

}  // namespace
}  // namespace etch::numerics
