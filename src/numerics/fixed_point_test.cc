#include "numerics/fixed_point.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace etch::numerics {
namespace {

__extension__ using Wide = __int128;

// floor(value / 2^shift + 1/2), in 128 bits: value · 2^-shift rounded to nearest, ties up.
Wide ExactRound(Wide value, int shift) {
  return shift == 0 ? value : (value + (Wide{1} << (shift - 1))) >> shift;
}

Wide ExactSaturate(Wide value) {
  return value > kMax32 ? Wide{kMax32} : value < -kMax32 ? -Wide{kMax32} : value;
}

// Values around every power of two below 2^62, of both signs.
std::vector<int64_t> EdgeValues() {
  std::vector<int64_t> values = {0};
  for (int bit = 0; bit < 62; ++bit) {
    for (const int64_t offset : {-1, 0, 1}) {
      values.push_back((int64_t{1} << bit) + offset);
      values.push_back(-((int64_t{1} << bit) + offset));
    }
  }
  values.push_back((int64_t{1} << 62) - 1);
  values.push_back(1 - (int64_t{1} << 62));
  return values;
}

TEST(FixedPoint, SaturationIsSymmetric) {
  EXPECT_EQ(Saturate32(INT64_MIN), -INT32_MAX);
  EXPECT_EQ(Saturate32(INT32_MIN), -INT32_MAX);
  EXPECT_EQ(Saturate32(-INT32_MAX), -INT32_MAX);
  EXPECT_EQ(Saturate32(INT32_MAX), INT32_MAX);
  EXPECT_EQ(Saturate32(int64_t{INT32_MAX} + 1), INT32_MAX);
  EXPECT_EQ(Saturate32(INT64_MAX), INT32_MAX);
  EXPECT_EQ(Saturate32(-7), -7);
}

TEST(FixedPoint, TiesRoundUp) {
  EXPECT_EQ(RoundShiftRight(3, 1), 2);
  EXPECT_EQ(RoundShiftRight(-3, 1), -1);
  EXPECT_EQ(RoundShiftRight(-1, 1), 0);
  EXPECT_EQ(RoundShiftRight(5, 2), 1);
  EXPECT_EQ(RoundShiftRight(-6, 2), -1);
  EXPECT_EQ(RoundShiftRight(7, 0), 7);
}

TEST(FixedPoint, EveryShiftIsExact) {
  for (const int64_t value : EdgeValues()) {
    for (int shift = 0; shift <= 100; ++shift) {
      ASSERT_EQ(RoundShiftRight(value, shift), static_cast<int64_t>(ExactRound(value, shift)))
          << value << " >> " << shift;
      ASSERT_EQ(ShiftBy(value, -shift), RoundShiftRight(value, shift));
      ASSERT_EQ(ShiftSaturate32(value, -shift),
                static_cast<int32_t>(ExactSaturate(ExactRound(value, shift))));
    }
    for (int exponent = 1; exponent <= 60; ++exponent) {
      const Wide exact = Wide{value} * (Wide{1} << exponent);
      ASSERT_EQ(ShiftSaturate32(value, exponent), static_cast<int32_t>(ExactSaturate(exact)))
          << value << " << " << exponent;
    }
    for (const int exponent : {100, 200, 300}) {
      ASSERT_EQ(ShiftSaturate32(value, exponent), value > 0 ? kMax32 : value < 0 ? -kMax32 : 0);
    }
  }
  EXPECT_EQ(ShiftBy(-5, 3), -40);
}

RC_GTEST_PROP(FixedPointProperty, RoundingIsNearest, ()) {
  const auto value = *rc::gen::inRange<int64_t>(1 - (int64_t{1} << 62), int64_t{1} << 62);
  const int shift = *rc::gen::inRange(0, 63);
  const Wide rounded = RoundShiftRight(value, shift);
  const Wide twice_error = 2 * (Wide{value} - rounded * (Wide{1} << shift));
  RC_ASSERT((twice_error < (Wide{1} << shift) && twice_error >= -(Wide{1} << shift)));
}

RC_GTEST_PROP(FixedPointProperty, MultiplyHighIsTheUpperHalf, (uint64_t a, uint64_t b)) {
  __extension__ using WideUnsigned = unsigned __int128;
  for (const uint64_t left : {a, ~uint64_t{0}, ~a}) {
    for (const uint64_t right : {b, ~uint64_t{0}, uint64_t{0}}) {
      RC_ASSERT(MultiplyHigh(left, right) ==
                static_cast<uint64_t>((WideUnsigned{left} * right) >> 64));
    }
  }
}

TEST(FixedPoint, BitLengthCountsBits) {
  EXPECT_EQ(BitLength(0), 0);
  EXPECT_EQ(BitLength(1), 1);
  EXPECT_EQ(BitLength(3), 2);
  EXPECT_EQ(BitLength(uint64_t{1} << 60), 61);
}

TEST(FixedPoint, EveryMantissaSurvivesTheRoundTrip) {
  for (const int exponent : {-127, -31, 0, 127}) {
    for (int mantissa = 1 << 15; mantissa < 1 << 16; ++mantissa) {
      const Scale16 scale = {static_cast<uint16_t>(mantissa), static_cast<int8_t>(exponent)};
      ASSERT_EQ(ToScale16(FromScale16(scale)), scale);
    }
    for (int mantissa = 1 << 14; mantissa < 1 << 15; ++mantissa) {
      const Gain16 gain = {static_cast<int16_t>(-mantissa),
                           static_cast<int8_t>(exponent < 0 ? exponent + 1 : exponent)};
      ASSERT_EQ(ToGain16(FromGain16(gain)), gain);
    }
  }
}

TEST(FixedPoint, ScalesAreTheNearest) {
  EXPECT_EQ(ToScale16(1.0), (Scale16{1 << 15, -15}));
  EXPECT_EQ(ToScale16(65535.4), (Scale16{65535, 0}));
  EXPECT_EQ(ToScale16(65535.6), (Scale16{1 << 15, 1}));  // the mantissa rounds up to 2^16
  EXPECT_EQ(ToGain16(-0.75), (Gain16{-24576, -15}));
  for (double value = 1e-30; value < 1e30; value *= 1.37) {
    EXPECT_LE(std::fabs(FromScale16(ToScale16(value)) - value), value * 0x1p-16);
    EXPECT_LE(std::fabs(FromGain16(ToGain16(-value)) + value), value * 0x1p-15);
  }
}

TEST(FixedPoint, ScalesOutsideTheRangeAreTheirNearestEnds) {
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_EQ(ToScale16(0.0), Scale16{});
  EXPECT_EQ(ToScale16(-1.0), Scale16{});
  EXPECT_EQ(ToScale16(std::nextafter(0x1p-112, 0.0)), Scale16{});
  EXPECT_EQ(ToScale16(0x1p-112), (Scale16{1 << 15, -127}));
  EXPECT_EQ(ToScale16(0x1p200), (Scale16{65535, 127}));
  EXPECT_EQ(ToScale16(infinity), (Scale16{65535, 127}));
  EXPECT_EQ(ToScale16(std::numeric_limits<double>::quiet_NaN()), Scale16{});
  EXPECT_EQ(ToGain16(-infinity), (Gain16{-32767, 127}));
  EXPECT_EQ(ToGain16(0x1p200), (Gain16{32767, 127}));
}

}  // namespace
}  // namespace etch::numerics
