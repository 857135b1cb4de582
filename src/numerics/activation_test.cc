#include "numerics/activation.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "numerics/fixed_point.h"

namespace etch::numerics {
namespace {

constexpr int64_t kProductLimit = int64_t{1} << 62;

// The definition: the smallest shift whose rounded code fits.
int SmallestShift(uint64_t magnitude, int32_t max_code) {
  int shift = 0;
  while (RoundShiftRight(static_cast<int64_t>(magnitude), shift) > max_code) {
    ++shift;
  }
  return shift;
}

TEST(Activation, BlockShiftIsTheSmallest) {
  for (const int32_t max_code : {kMaxA8, kMaxA14, kMaxA16}) {
    for (uint64_t magnitude = 0; magnitude < 1U << 18; ++magnitude) {
      ASSERT_EQ(BlockShift(magnitude, max_code), SmallestShift(magnitude, max_code));
    }
    // Around every multiple of 2^k that rounds to max_code or to one more.
    for (int bit = 0; bit < 62; ++bit) {
      for (const uint64_t code : {static_cast<uint64_t>(max_code), uint64_t{1}, uint64_t{3}}) {
        for (int64_t offset = -2; offset <= 2; ++offset) {
          const uint64_t magnitude =
              ((2 * code + 1) << bit >> 1) + static_cast<uint64_t>(offset + 2) - 2;
          if (magnitude < static_cast<uint64_t>(kProductLimit) &&
              std::bit_width(2 * code + 1) + bit < 64) {
            ASSERT_EQ(BlockShift(magnitude, max_code), SmallestShift(magnitude, max_code))
                << magnitude;
          }
        }
      }
    }
  }
}

// Contract §14: the largest shifts, which bound every exponent that follows.
TEST(Activation, ShiftsReachTheirBounds) {
  EXPECT_EQ(BlockShift(kMax32, kMaxA8), 25);
  EXPECT_EQ(BlockShift(kMax32, kMaxA14), 19);
  EXPECT_EQ(BlockShift(kMax32, kMaxA16), 17);
  const uint64_t product = static_cast<uint64_t>(kMax32) * static_cast<uint64_t>(kMax32);
  EXPECT_EQ(BlockShift(product, kMaxA8), 56);
  EXPECT_EQ(BlockShift(product, kMaxA16), 48);
  Activation out;
  const int64_t largest = int64_t{kMax32} * kMax32;
  QuantizeActivation(std::vector<int64_t>{largest, -largest}, 32, ActivationFormat::kA8, out);
  EXPECT_EQ(out.max_shift, 56);
  EXPECT_EQ(out.codes[0], 64);
  EXPECT_EQ(out.codes[1], -64);
}

TEST(Activation, EveryA16CodeSplitsIntoTwoPlanes) {
  for (int32_t code = -kMaxA16; code <= kMaxA16; ++code) {
    const int32_t high = (code + 128) >> 8;
    const int32_t low = code - 256 * high;
    ASSERT_TRUE(high >= -127 && high <= 127 && low >= -128 && low <= 127) << code;
  }
  EXPECT_GT((kMaxA16 + 1 + 128) >> 8, 127);  // and no larger code does
}

TEST(Activation, EveryValueOfA8IsTheNearestCode) {
  Activation out;
  for (int32_t value = -(1 << 17); value <= 1 << 17; ++value) {
    QuantizeActivation(std::vector<int32_t>{value}, ActivationFormat::kA8, out);
    const int shift = out.max_shift;
    ASSERT_EQ(out.codes[0], RoundShiftRight(value, shift));
    ASSERT_LE(std::abs(out.codes[0]), kMaxA8);
    ASSERT_EQ(shift, SmallestShift(static_cast<uint64_t>(std::abs(value)), kMaxA8));
  }
}

TEST(Activation, PadsToWholeBlocksWithZeros) {
  Activation out;
  QuantizeActivation(std::vector<int32_t>(33, -5), ActivationFormat::kA8, out);
  EXPECT_EQ(out.blocks(), 2);
  EXPECT_EQ(out.point, 16);
  ASSERT_EQ(out.codes.size(), 64U);
  EXPECT_EQ(std::count(out.codes.begin(), out.codes.end(), -5), 33);
  EXPECT_EQ(std::count(out.codes.begin(), out.codes.end(), 0), 31);
  // The memory is reused: nothing of a longer vector remains.
  QuantizeActivation(std::vector<int32_t>{1}, ActivationFormat::kA16, out);
  EXPECT_EQ(out.format, ActivationFormat::kA16);
  EXPECT_EQ(out.codes.size(), 32U);
  EXPECT_EQ(std::count(out.codes.begin(), out.codes.end(), 0), 31);
  QuantizeActivation(std::vector<int32_t>{}, ActivationFormat::kA8, out);
  EXPECT_EQ(out.blocks(), 0);
  EXPECT_EQ(out.max_shift, 0);
}

TEST(Activation, ZerosNeedNoShift) {
  Activation out;
  QuantizeActivation(std::vector<int32_t>(64, 0), ActivationFormat::kA8, out);
  EXPECT_EQ(out.max_shift, 0);
  EXPECT_EQ(out.shifts, (std::vector<uint8_t>{0, 0}));
}

TEST(Activation, SmallBlocksAreCoarsenedToTheSpread) {
  std::vector<int32_t> values(96, 0);
  values[0] = kMax32;   // needs a shift of 25
  values[32] = 100000;  // needs 10, and may keep it
  values[64] = 1000;    // needs 3, gets 10
  Activation out;
  QuantizeActivation(values, ActivationFormat::kA8, out);
  EXPECT_EQ(out.shifts, (std::vector<uint8_t>{25, 10, 10}));
  EXPECT_EQ(out.codes[0], 64);
  EXPECT_EQ(out.codes[32], 98);
  EXPECT_EQ(out.codes[64], 1);
}

void ExpectQuantized(const std::vector<int64_t>& values, ActivationFormat format,
                     const Activation& out) {
  const int32_t max_code = MaxCode(format);
  RC_ASSERT(out.blocks() == (static_cast<int64_t>(values.size()) + 31) / 32);
  int max_shift = 0;
  for (const uint8_t shift : out.shifts) {
    max_shift = std::max<int>(max_shift, shift);
  }
  RC_ASSERT(out.max_shift == max_shift);
  for (size_t block = 0; block < out.shifts.size(); ++block) {
    const int shift = out.shifts[block];
    RC_ASSERT(out.max_shift - shift <= kMaxShiftSpread);
    int64_t largest = 0;
    for (size_t index = 32 * block; index < std::min(values.size(), 32 * block + 32); ++index) {
      largest = std::max(largest, std::abs(values[index]));
      RC_ASSERT(out.codes[index] == RoundShiftRight(values[index], shift));
      RC_ASSERT(std::abs(out.codes[index]) <= max_code);
    }
    const bool minimal =
        shift == 0 || RoundShiftRight(largest, shift - 1) > max_code;  // one less does not fit
    RC_ASSERT((minimal || shift == out.max_shift - kMaxShiftSpread));
  }
}

RC_GTEST_PROP(ActivationProperty, VectorsKeepTheContract, (bool wide)) {
  const ActivationFormat format = wide ? ActivationFormat::kA16 : ActivationFormat::kA8;
  const auto size = *rc::gen::inRange<size_t>(0, 130);
  uint32_t state = *rc::gen::arbitrary<uint32_t>();
  std::vector<int64_t> narrow_values(size);
  for (size_t index = 0; index < size; ++index) {
    state = state * 1664525 + 1013904223;
    const uint32_t drop = (state >> 20) % 4 + static_cast<uint32_t>(index / 32 * 11 % 28);
    narrow_values[index] = std::max(static_cast<int32_t>(state), -kMax32) >> drop;
  }
  Activation out;
  QuantizeActivation(std::vector<int32_t>(narrow_values.begin(), narrow_values.end()), format, out);
  RC_ASSERT(out.point == kPoint);
  ExpectQuantized(narrow_values, format, out);
  std::vector<int64_t> products = narrow_values;
  std::transform(products.begin(), products.end(), narrow_values.rbegin(), products.begin(),
                 [](int64_t a, int64_t b) { return a * b; });
  QuantizeActivation(products, 32, format, out);
  RC_ASSERT(out.point == 32);
  ExpectQuantized(products, format, out);
}

TEST(Activation, BlocksOfHeadsFit) {
  std::vector<int16_t> codes(3);
  EXPECT_EQ(QuantizeBlock(std::vector<int32_t>{kMax32, -kMax32, 1 << 18}, kMaxA14, codes), 19);
  EXPECT_EQ(codes, (std::vector<int16_t>{4096, -4096, 1}));
  EXPECT_EQ(QuantizeBlock(std::vector<int32_t>{8191, -8191, 0}, kMaxA14, codes), 0);
  EXPECT_EQ(codes, (std::vector<int16_t>{8191, -8191, 0}));
  EXPECT_EQ(QuantizeBlock(std::vector<int32_t>{-8192, 3, -3}, kMaxA14, codes), 1);
  EXPECT_EQ(codes, (std::vector<int16_t>{-4096, 2, -1}));
}

}  // namespace
}  // namespace etch::numerics
