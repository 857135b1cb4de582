#include <gtest/gtest.h>

#include <random>

#include <Vetch_embed.h>
#include "numerics/linear.h"
#include "rtl/fabric/matrix_bench.h"
#include "rtl/fabric/unit_bench.h"
#include "rtl/matrix_rom.h"

namespace etch::rtl {
namespace {

using numerics::WeightFormat;

constexpr int64_t kLanes = 16;

TEST(EmbedUnit, ReadsRowsAsTheContractSays) {
  std::mt19937 random(7);
  test::UnitBench<Vetch_embed> bench(4096);
  BaseRoms roms(kLanes);
  bench.memories = [&] {
    auto& unit = bench.unit;
    if (unit.w_en != 0) {
      bench.work[unit.w_addr] = static_cast<int32_t>(unit.w_data);
    }
    return [&, code = unit.code_addr, param = unit.param_addr, row = unit.row_addr] {
      test::SetWord(roms.codes, code, bench.unit.code_word);
      test::SetWord(roms.params, param, bench.unit.param_word);
      bench.unit.row_scale = test::WordOf(roms.rows, row);
    };
  };
  for (const WeightFormat format : {WeightFormat::kW3, WeightFormat::kW6}) {
    for (const int64_t cols : {1, 32, 64, 100}) {
      const test::RandomMatrix matrix(format, 50, cols, random);
      roms = BaseRoms(kLanes);
      AppendMatrix(test::RandomMatrix(WeightFormat::kW6, 20, 32, random).view(), kLanes, roms);
      auto& unit = bench.unit;
      unit.code_base = static_cast<uint32_t>(roms.codes.size());
      unit.param_base = static_cast<uint32_t>(roms.params.size());
      unit.row_base = static_cast<uint32_t>(roms.rows.size());
      AppendMatrix(matrix.view(), kLanes, roms);
      test::SetLevels(matrix.levels(), unit.levels);
      unit.n = static_cast<uint16_t>(cols);
      unit.groups = static_cast<uint16_t>(numerics::GroupCount(cols));
      unit.w6 = format == WeightFormat::kW6;
      unit.dst = 300;
      for (const int64_t token : {0, 1, 15, 16, 37, 49}) {
        unit.token = static_cast<uint32_t>(token);
        std::vector<int32_t> expected(static_cast<size_t>(cols));
        numerics::EmbedRow(matrix.view(), token, expected);
        EXPECT_EQ(bench.Run(), numerics::GroupCount(cols) * (unit.w6 != 0 ? 64 : 32) + 6);
        EXPECT_TRUE(std::equal(expected.begin(), expected.end(), bench.work.begin() + 300))
            << token << " of " << cols;
        EXPECT_EQ(unit.code_addr | unit.param_addr | unit.row_addr, 0U);
      }
    }
  }
}

}  // namespace
}  // namespace etch::rtl
