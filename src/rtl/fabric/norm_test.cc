#include "numerics/norm.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <span>
#include <vector>

#include <Vetch_norm.h>
#include "numerics/fixed_point.h"
#include "numerics/tables.h"
#include "rtl/fabric/unit_bench.h"

namespace etch::rtl {
namespace {

using numerics::Gain16;

constexpr int64_t kSource = 100;
constexpr int64_t kTarget = 2100;
constexpr int64_t kGains = 300;
constexpr uint64_t kLargestEpsilon = uint64_t{1} << 46;

class NormUnit : public ::testing::Test {
 protected:
  NormUnit() {
    bench_.memories = [this] {
      auto& unit = bench_.unit;
      if (unit.w_en != 0) {
        bench_.work[unit.w_addr] = static_cast<int32_t>(unit.w_data);
      }
      const Gain16 gain = gains_[unit.gain_addr];
      const auto packed = static_cast<uint32_t>(static_cast<uint8_t>(gain.exponent)) << 16 |
                          static_cast<uint16_t>(gain.mantissa);
      return [&unit, packed, value = bench_.work[unit.a_addr],
              root = tables_.rsqrt.at(unit.rsqrt_addr)] {
        unit.a_data = static_cast<uint32_t>(value);
        unit.gain_data = packed;
        unit.rsqrt_data = static_cast<uint32_t>(root);
      };
    };
    for (Gain16& gain : gains_) {
      gain = {static_cast<int16_t>(random_()), static_cast<int8_t>(Between(-24, 8))};
    }
  }

  int32_t Between(int64_t low, int64_t high) {
    return static_cast<int32_t>(std::uniform_int_distribution<int64_t>(low, high)(random_));
  }

  std::vector<int32_t> Random(int64_t n, int bits) {
    const int64_t limit = (int64_t{1} << bits) - 1;
    std::vector<int32_t> x(static_cast<size_t>(n));
    std::ranges::generate(x, [&] { return Between(-limit, limit); });
    return x;
  }

  // One run of the unit against the definition, from `kSource` to `target`.
  void Check(const std::vector<int32_t>& x, uint64_t epsilon, int64_t target = kTarget) {
    const size_t n = x.size();
    std::vector<int32_t> expected(n);
    numerics::RmsNorm(x, std::span(gains_).subspan(kGains, n), epsilon, tables_, expected);
    std::ranges::copy(x, bench_.work.begin() + kSource);
    bench_.work[static_cast<size_t>(target) + n] = 77;  // stays
    bench_.unit.src = kSource;
    bench_.unit.dst = static_cast<uint16_t>(target);
    bench_.unit.n = static_cast<uint16_t>(n);
    bench_.unit.gain_base = kGains;
    bench_.unit.epsilon = epsilon;
    ASSERT_EQ(bench_.Run(), 3 * static_cast<int64_t>(n) + 15);
    const auto begin = bench_.work.begin() + target;
    ASSERT_EQ(std::vector<int32_t>(begin, begin + static_cast<int64_t>(n)), expected);
    ASSERT_EQ(begin[static_cast<int64_t>(n)], 77);
    EXPECT_EQ(bench_.unit.a_addr, 0);
    EXPECT_EQ(bench_.unit.gain_addr, 0);
    EXPECT_EQ(bench_.unit.rsqrt_addr, 0);
    EXPECT_EQ(bench_.unit.w_en, 0);
    EXPECT_EQ(bench_.unit.w_addr, 0);
    EXPECT_EQ(bench_.unit.w_data, 0U);
  }

  numerics::FunctionTables tables_ = numerics::BuildFunctionTables();
  std::mt19937_64 random_{1};
  std::vector<Gain16> gains_{4096};
  test::UnitBench<Vetch_norm> bench_{4096};
};

TEST_F(NormUnit, EqualsTheDefinitionAtEveryMagnitude) {
  for (const int64_t n : {1, 2, 3, 5, 8, 31, 32, 33, 64, 172, 1000}) {
    for (int bits = 0; bits <= 31; ++bits) {
      const std::vector<int32_t> x = Random(n, bits);
      Check(x, 0);
      Check(x, numerics::NormEpsilon(1e-5, n));
      Check(x, random_() % kLargestEpsilon);
    }
  }
}

TEST_F(NormUnit, HoldsAtTheEnds) {
  constexpr int32_t kMax = numerics::kMax32;
  for (const uint64_t epsilon : {uint64_t{0}, uint64_t{1}, kLargestEpsilon}) {
    for (const int64_t n : {1, 31, 1000}) {
      const auto size = static_cast<size_t>(n);
      Check(std::vector<int32_t>(size, 0), epsilon);
      Check(std::vector<int32_t>(size, 1), epsilon);
      Check(std::vector<int32_t>(size, kMax), epsilon);
      Check(std::vector<int32_t>(size, -kMax), epsilon);
      for (const size_t place : {size_t{0}, size - 1}) {
        std::vector<int32_t> outlier(size, 1);
        outlier[place] = -kMax;
        Check(outlier, epsilon);
      }
    }
  }
}

TEST_F(NormUnit, TakesEveryGain) {
  for (Gain16& gain : gains_) {
    gain = {static_cast<int16_t>(random_()), static_cast<int8_t>(random_())};
  }
  gains_[kGains] = {-32768, 127};
  gains_[kGains + 1] = {32767, 127};
  gains_[kGains + 2] = {-32768, -128};
  gains_[kGains + 3] = {0, 0};
  for (const int bits : {1, 16, 31}) {
    Check(Random(1000, bits), 0);
  }
}

// Any table that a reader of images admits, even where roots become negative.
TEST_F(NormUnit, TakesEveryTable) {
  for (const int32_t entry : {1 << 30, (1 << 29) + 1}) {
    tables_.rsqrt.fill(entry);
    ASSERT_TRUE(numerics::Validate(tables_));
    for (int bits = 0; bits <= 31; ++bits) {
      Check(Random(1, bits), 0);
      Check(Random(172, bits), 0);
    }
  }
}

TEST_F(NormUnit, MayWriteWhereItReads) { Check(Random(172, 20), 1000, kSource); }

// A unit that is reset while it works starts afresh.
TEST_F(NormUnit, StartsAfreshAfterReset) {
  bench_.unit.n = 64;
  bench_.unit.start = 1;
  bench_.Tick();
  bench_.unit.start = 0;
  for (int cycle = 0; cycle < 150; ++cycle) {
    bench_.Tick();
  }
  bench_.unit.rst = 1;
  bench_.Tick();
  bench_.unit.rst = 0;
  EXPECT_EQ(bench_.unit.a_addr, 0);
  Check(Random(64, 20), 0);
}

}  // namespace
}  // namespace etch::rtl
