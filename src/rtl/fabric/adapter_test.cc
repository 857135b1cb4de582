#include <gtest/gtest.h>

#include <random>

#include <Vetch_adapter.h>
#include "numerics/linear.h"
#include "rtl/fabric/matrix_bench.h"
#include "rtl/fabric/unit_bench.h"
#include "rtl/matrix_rom.h"

namespace etch::rtl {
namespace {

using numerics::ActivationFormat;
using numerics::WeightFormat;

class AdapterUnit : public ::testing::Test {
 protected:
  AdapterUnit() {
    bench_.memories = [this] {
      auto& unit = bench_.unit;
      if (unit.w_en != 0) {
        bench_.work[unit.w_addr] = static_cast<int32_t>(unit.w_data);
      }
      return [this, code = unit.code_addr, row = unit.row_addr, input = unit.input_addr,
              shift = unit.shift_addr, a = bench_.work[unit.a_addr]] {
        test::SetWord(memory_.codes, code, bench_.unit.code_word);
        bench_.unit.row_scale = test::WordOf(memory_.rows, row);
        bench_.unit.input_code = static_cast<uint16_t>(test::At(input_.codes, input));
        bench_.unit.input_shift = test::At(input_.shifts, shift);
        bench_.unit.a_data = static_cast<uint32_t>(a);
      };
    };
  }

  void Check(ActivationFormat format, int64_t rows, int64_t cols, int point, bool add,
             int32_t weight) {
    const test::RandomMatrix matrix(WeightFormat::kW8, rows, cols, random_);
    input_ = test::RandomInput(format, cols, point, random_);
    memory_ = {};
    AppendAdapterMatrix(test::RandomMatrix(WeightFormat::kW8, 5, 40, random_).view(), memory_);
    auto& unit = bench_.unit;
    unit.code_base = static_cast<uint32_t>(memory_.codes.size());
    unit.row_base = static_cast<uint32_t>(memory_.rows.size());
    AppendAdapterMatrix(matrix.view(), memory_);
    unit.rows = static_cast<uint16_t>(rows);
    unit.groups = static_cast<uint16_t>(numerics::GroupCount(cols));
    unit.a16 = format == ActivationFormat::kA16;
    unit.point32 = point == 32;
    unit.max_shift = static_cast<uint8_t>(input_.max_shift);
    unit.dst = 500;
    unit.add = add;
    unit.weight = static_cast<uint32_t>(weight);
    std::vector<int32_t> expected(static_cast<size_t>(rows));
    numerics::MultiplyMatrix(matrix.view(), input_, expected);
    for (size_t row = 0; row < expected.size(); ++row) {
      const auto there = static_cast<int32_t>(random_());
      bench_.work[500 + row] = there;
      if (add) {
        expected[row] =
            numerics::Saturate32(numerics::WeighDelta(expected[row], weight) + int64_t{there});
      }
    }
    const int64_t steps = numerics::GroupCount(cols) * 32;
    const int64_t tiles = (rows + 31) / 32;
    EXPECT_EQ(bench_.Run(),
              steps + (tiles - 1) * std::max<int64_t>(steps, 38) + rows - (tiles - 1) * 32 + 10);
    EXPECT_TRUE(std::equal(expected.begin(), expected.end(), bench_.work.begin() + 500));
  }

  std::mt19937 random_{5};
  test::UnitBench<Vetch_adapter> bench_{4096};
  AdapterRoms memory_;
  numerics::Activation input_;
};

TEST_F(AdapterUnit, MultipliesAndAddsAsTheContractSays) {
  for (const auto& [rows, cols] :
       {std::pair<int64_t, int64_t>{1, 1}, {32, 64}, {33, 172}, {172, 32}}) {
    for (const ActivationFormat format : {ActivationFormat::kA8, ActivationFormat::kA16}) {
      for (const int point : {16, 32}) {
        Check(format, rows, cols, point, false, 1 << 16);
        Check(format, rows, cols, point, true, 1 << 16);
        Check(format, rows, cols, point, true, -50'000);
      }
    }
  }
}

}  // namespace
}  // namespace etch::rtl
