#include <gtest/gtest.h>

#include <random>

#include <Vetch_residual.h>
#include "numerics/fixed_point.h"
#include "rtl/fabric/unit_bench.h"

namespace etch::rtl {
namespace {

TEST(ResidualUnit, AddsAndSaturatesInNPlusTwoCycles) {
  test::UnitBench<Vetch_residual> bench(4096);
  bench.memories = [&] {
    auto& unit = bench.unit;
    if (unit.w_en != 0) {
      bench.work[unit.w_addr] = static_cast<int32_t>(unit.w_data);
    }
    return [&unit, a = bench.work[unit.a_addr], b = bench.work[unit.b_addr]] {
      unit.a_data = static_cast<uint32_t>(a);
      unit.b_data = static_cast<uint32_t>(b);
    };
  };
  std::mt19937 random(1);
  for (const int32_t n : {1, 2, 64, 700}) {
    std::vector<int32_t> expected;
    for (int32_t index = 0; index < n; ++index) {
      const auto a = static_cast<int32_t>(random());
      const auto b = static_cast<int32_t>(random());
      bench.work[static_cast<size_t>(100 + index)] = a;
      bench.work[static_cast<size_t>(2000 + index)] = b;
      expected.push_back(numerics::Saturate32(int64_t{a} + b));
    }
    bench.unit.src = 100;
    bench.unit.src_b = 2000;
    bench.unit.n = static_cast<uint16_t>(n);
    EXPECT_EQ(bench.Run(), n + 2);
    EXPECT_TRUE(std::equal(expected.begin(), expected.end(), bench.work.begin() + 100));
    EXPECT_FALSE(bench.unit.w_en);
    EXPECT_EQ(bench.unit.a_addr, 0);
  }
}

}  // namespace
}  // namespace etch::rtl
