#include "numerics/norm.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "model/config.h"

namespace etch::numerics {
namespace {

const FunctionTables kTables = BuildFunctionTables();

double Relative(uint64_t value) {
  const ReciprocalRoot root = Rsqrt(value, kTables);
  const double got = std::ldexp(static_cast<double>(root.mantissa), -(30 + root.exponent));
  return std::fabs(got * std::sqrt(static_cast<double>(value)) - 1.0);
}

// One Newton step from 192 entries errs by less than 2^-15 (contract §7).
constexpr double kRsqrtError = 0x1p-15;

TEST(Norm, RsqrtIsRightForEverySmallValue) {
  for (uint64_t value = 1; value < 1U << 20; ++value) {
    ASSERT_LT(Relative(value), kRsqrtError) << value;
  }
}

TEST(Norm, RsqrtIsRightAcrossItsDomain) {
  EXPECT_EQ(Rsqrt(1, kTables).mantissa,
            1073717565);  // 2^30 less what one step from 1/sqrt(1 + 1/128) misses
  EXPECT_EQ(Rsqrt(4, kTables).mantissa, 1073717565);
  EXPECT_EQ(Rsqrt(4, kTables).exponent, 1);
  for (int bit = 0; bit <= 60; ++bit) {
    for (uint64_t part = 0; part < 64; ++part) {
      for (const uint64_t offset : {0U, 1U}) {
        const uint64_t value = (uint64_t{1} << bit) + (part << bit >> 6) + offset;
        ASSERT_LT(Relative(value), kRsqrtError) << value;
        const int64_t mantissa = Rsqrt(value, kTables).mantissa;
        ASSERT_LE(mantissa, int64_t{1} << 30);
        ASSERT_GE(mantissa, (int64_t{1} << 29) - 1024);
      }
    }
  }
  EXPECT_LT(Relative((uint64_t{1} << 61) - 1), kRsqrtError);
}

// The same operation in 128 bits, with each bound of contract §14 asserted on the way.
std::vector<int32_t> WideNorm(const std::vector<int32_t>& x, const std::vector<Gain16>& gains,
                              uint64_t epsilon, uint64_t* squares_out = nullptr) {
  __extension__ using Wide = __int128;
  const auto round = [](Wide value, int shift) {
    return shift <= 0 ? value << -shift : (value + (Wide{1} << (shift - 1))) >> shift;
  };
  int64_t largest = 0;
  for (const int32_t value : x) {
    largest = std::max(largest, std::abs(int64_t{value}));
  }
  const int shift = std::max(0, BitLength(static_cast<uint64_t>(largest)) - 23);
  EXPECT_LE(shift, 8);
  Wide squares = round(static_cast<Wide>(epsilon), 2 * shift);
  for (const int32_t value : x) {
    const Wide reduced = round(value, shift);
    EXPECT_LE(reduced * reduced, Wide{1} << 46);
    squares += reduced * reduced;
  }
  EXPECT_LE(squares, (Wide{1} << 60) + (Wide{1} << 46));
  if (squares_out != nullptr) {
    *squares_out = static_cast<uint64_t>(squares);
  }
  const ReciprocalRoot root = Rsqrt(static_cast<uint64_t>(squares), kTables);
  std::vector<int32_t> y;
  for (size_t index = 0; index < x.size(); ++index) {
    const Wide product = round(x[index], shift) * root.mantissa;
    EXPECT_LE(product < 0 ? -product : product, Wide{1} << 53);
    const Wide unit = round(product, root.exponent);
    EXPECT_LE(unit < 0 ? -unit : unit, (Wide{1} << 31) + 1);
    const int exponent = gains[index].exponent - 14;
    const Wide exact = round(unit * gains[index].mantissa, -std::clamp(exponent, -100, 60));
    y.push_back(static_cast<int32_t>(exact > kMax32    ? Wide{kMax32}
                                     : exact < -kMax32 ? -Wide{kMax32}
                                                       : exact));
  }
  return y;
}

TEST(Norm, SumOfSquaresReachesItsBound) {
  const auto dim = static_cast<size_t>(model::kMaxDim);
  const std::vector<int32_t> x(dim, kMax32);
  const std::vector<Gain16> gains(dim, NormGain(1.0, model::kMaxDim));
  uint64_t squares = 0;
  const std::vector<int32_t> want = WideNorm(x, gains, uint64_t{1} << 46, &squares);
  EXPECT_EQ(squares, (uint64_t{1} << 60) + (uint64_t{1} << 30));  // epsilon comes down by 2^16
  std::vector<int32_t> y(dim);
  RmsNorm(x, gains, uint64_t{1} << 46, kTables, y);
  EXPECT_EQ(y, want);
  EXPECT_NEAR(y[0], 65536, 65536 * 2 * kRsqrtError);
  EXPECT_EQ(std::count(y.begin(), y.end(), y[0]), static_cast<int64_t>(dim));
}

// Where the input comes down by 2^s, epsilon comes down by its square.
TEST(Norm, EpsilonFollowsTheShiftOfTheInput) {
  const std::vector<int32_t> x = {1 << 23};  // comes down by 2, its square to 2^44
  const std::vector<Gain16> gains = {NormGain(1.0, 1)};
  uint64_t squares = 0;
  const std::vector<int32_t> want = WideNorm(x, gains, uint64_t{1} << 46, &squares);
  EXPECT_EQ(squares, uint64_t{1} << 45);
  std::vector<int32_t> y(1);
  RmsNorm(x, gains, uint64_t{1} << 46, kTables, y);
  EXPECT_EQ(y, want);
  EXPECT_NEAR(y[0], 46341, 4);  // 2^16 / sqrt(2)
}

TEST(Norm, OneChannelAmongZerosKeepsItsWholeEnergy) {
  std::vector<int32_t> x(64, 0);
  const std::vector<Gain16> gains(64, NormGain(1.0, 64));
  for (const int32_t value : {1, 2, 3, 1 << 16, kMax32, -kMax32}) {
    x[5] = value;
    std::vector<int32_t> y(64);
    RmsNorm(x, gains, 0, kTables, y);
    EXPECT_NEAR(y[5], value < 0 ? -8 * 65536 : 8 * 65536, 8 * 65536 * 2 * kRsqrtError);
    EXPECT_EQ(std::count(y.begin(), y.end(), 0), 63);
  }
}

TEST(Norm, ZeroStaysZero) {
  std::vector<int32_t> y(3, 7);
  RmsNorm(std::vector<int32_t>(3, 0), std::vector<Gain16>(3, NormGain(2.0, 3)), 0, kTables, y);
  EXPECT_EQ(y, (std::vector<int32_t>{0, 0, 0}));
  RmsNorm(std::vector<int32_t>(3, 0), std::vector<Gain16>(3, NormGain(2.0, 3)), 99, kTables, y);
  EXPECT_EQ(y, (std::vector<int32_t>{0, 0, 0}));
}

TEST(Norm, MayOverwriteItsInput) {
  std::vector<int32_t> x = {65536, -131072, 7, 300000};
  const std::vector<Gain16> gains = {NormGain(1.0, 4), NormGain(-0.5, 4), NormGain(3.0, 4),
                                     NormGain(0.0, 4)};
  std::vector<int32_t> apart(4);
  RmsNorm(x, gains, NormEpsilon(1e-5, 4), kTables, apart);
  RmsNorm(x, gains, NormEpsilon(1e-5, 4), kTables, x);
  EXPECT_EQ(x, apart);
  EXPECT_EQ(apart[3], 0);
}

TEST(Norm, LargeGainsSaturate) {
  std::vector<int32_t> y(1);
  RmsNorm(std::vector<int32_t>{-65536}, std::vector<Gain16>{{32767, 127}}, 0, kTables, y);
  EXPECT_EQ(y[0], -kMax32);
  RmsNorm(std::vector<int32_t>{-65536}, std::vector<Gain16>{{32767, -128}}, 0, kTables, y);
  EXPECT_EQ(y[0], 0);
}

TEST(Norm, EpsilonAndGainConversions) {
  EXPECT_EQ(NormEpsilon(1e-5, 4096), 175921860U);
  EXPECT_EQ(NormEpsilon(1.0, model::kMaxDim), uint64_t{1} << 46);
  EXPECT_EQ(NormGain(1.0, 4096), (Gain16{1 << 14, -8}));
}

RC_GTEST_PROP(NormProperty, AgreesWithWideArithmeticAndWithReals, ()) {
  const auto dim = *rc::gen::inRange<size_t>(1, 200);
  const int drop = *rc::gen::inRange(0, 31);
  const auto x = *rc::gen::container<std::vector<int32_t>>(
      dim, rc::gen::map(rc::gen::inRange<int32_t>(-kMax32, kMax32),
                        [drop](int32_t value) { return value >> drop; }));
  std::vector<Gain16> gains;
  for (size_t index = 0; index < dim; ++index) {
    gains.push_back(NormGain(0.01 * static_cast<double>(index) - 0.4, static_cast<int64_t>(dim)));
  }
  const uint64_t epsilon = NormEpsilon(1e-5, static_cast<int64_t>(dim));
  std::vector<int32_t> y(dim);
  RmsNorm(x, gains, epsilon, kTables, y);
  RC_ASSERT(y == WideNorm(x, gains, epsilon));
  const double squares = std::accumulate(
      x.begin(), x.end(), static_cast<double>(epsilon),
      [](double sum, int32_t value) { return sum + static_cast<double>(value) * value; });
  for (size_t index = 0; index < dim; ++index) {
    const double want = x[index] / std::sqrt(squares) * FromGain16(gains[index]) * 65536.0;
    // The root, 22 to 23 bits of the input relative to its largest value, one final rounding.
    const double largest = 65536.0 * std::fabs(FromGain16(gains[index]));
    RC_ASSERT(std::fabs(y[index] - want) <=
              std::fabs(want) * 2 * kRsqrtError + largest * 0x1p-22 + 1.0);
  }
}

}  // namespace
}  // namespace etch::numerics
