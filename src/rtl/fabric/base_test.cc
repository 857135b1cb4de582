// The lanes of the base against numerics/, of one bank and of several.

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include <Vetch_base.h>
#include "numerics/linear.h"
#include "rtl/fabric/matrix_bench.h"
#include "rtl/fabric/unit_bench.h"
#include "rtl/matrix_rom.h"

namespace etch::rtl {
namespace {

using numerics::ActivationFormat;
using numerics::WeightFormat;

constexpr int64_t kLanes = UNIT_LANES;

constexpr ActivationFormat kFormats[] = {ActivationFormat::kA8, ActivationFormat::kA16};

class BaseUnit : public ::testing::Test {
 protected:
  BaseUnit() {
    bench_.memories = [this] {
      auto& unit = bench_.unit;
      if (unit.w_en != 0) {
        bench_.work[unit.w_addr] = static_cast<int32_t>(unit.w_data);
      }
      if (unit.logit_valid != 0) {
        logits_.emplace_back(unit.logit_id, static_cast<int32_t>(unit.logit));
      }
      return [this, code = unit.code_addr, param = unit.param_addr, row = unit.row_addr,
              input = unit.input_addr, shift = unit.shift_addr] {
        test::SetWord(roms_.codes, code, bench_.unit.code_word);
        test::SetWord(roms_.params, param, bench_.unit.param_word);
        bench_.unit.row_scale = test::WordOf(roms_.rows, row);
        bench_.unit.input_code = static_cast<uint16_t>(test::At(input_.codes, input));
        bench_.unit.input_shift = test::At(input_.shifts, shift);
      };
    };
    test::SetLevels(test::RandomLevels(random_), bench_.unit.levels);
  }

  void Check(WeightFormat weights, ActivationFormat format, int64_t rows, int64_t cols, int point,
             bool to_logits) {
    const test::RandomMatrix matrix(weights, rows, cols, random_);
    input_ = test::RandomInput(format, cols, point, random_);
    CheckWith(matrix, weights, format, rows, cols, point, to_logits);
  }

  // The same with input_ as it is.
  void CheckWith(const test::RandomMatrix& matrix, WeightFormat weights, ActivationFormat format,
                 int64_t rows, int64_t cols, int point, bool to_logits) {
    // Behind another matrix, so that bases count.
    roms_ = BaseRoms(kLanes);
    AppendMatrix(test::RandomMatrix(WeightFormat::kW3, 5, 40, random_).view(), kLanes, roms_);
    auto& unit = bench_.unit;
    unit.code_base = static_cast<uint32_t>(roms_.codes.size());
    unit.param_base = static_cast<uint32_t>(roms_.params.size());
    unit.row_base = static_cast<uint32_t>(roms_.rows.size());
    AppendMatrix(matrix.view(), kLanes, roms_);
    test::SetLevels(matrix.levels(), unit.levels);
    unit.rows = static_cast<uint16_t>(rows);
    unit.groups = static_cast<uint16_t>(numerics::GroupCount(cols));
    unit.w6 = weights == WeightFormat::kW6;
    unit.a16 = format == ActivationFormat::kA16;
    unit.point32 = point == 32;
    unit.max_shift = static_cast<uint8_t>(input_.max_shift);
    unit.dst = 77;
    unit.to_logits = to_logits;
    unit.drain_hold = 0;
    logits_.clear();
    const int64_t cycles = bench_.Run();
    const int64_t steps =
        numerics::GroupCount(cols) * 32 * (unit.w6 != 0 ? 2 : 1) * (unit.a16 != 0 ? 2 : 1);
    const int64_t tiles = (rows + kLanes - 1) / kLanes;
    const int64_t last = rows - (tiles - 1) * kLanes;
    EXPECT_EQ(cycles, steps + (tiles - 1) * std::max(steps, kLanes + 6) + last + 8);
    std::vector<int32_t> expected(static_cast<size_t>(rows));
    numerics::MultiplyMatrix(matrix.view(), input_, expected);
    for (int64_t row = 0; row < rows; ++row) {
      const auto index = static_cast<size_t>(row);
      if (to_logits) {
        ASSERT_EQ(logits_[index], std::pair(static_cast<uint32_t>(row), expected[index]));
      } else {
        ASSERT_EQ(bench_.work[77 + index], expected[index]) << row;
      }
    }
    EXPECT_EQ(std::ssize(logits_), to_logits ? rows : 0);
  }

  std::mt19937 random_{3};
  test::UnitBench<Vetch_base> bench_{4096};
  BaseRoms roms_{kLanes};
  numerics::Activation input_;
  std::vector<std::pair<uint32_t, int32_t>> logits_;
};

TEST_F(BaseUnit, MultipliesAsTheContractSays) {
  for (const auto& [rows, cols] :
       {std::pair<int64_t, int64_t>{1, 1}, {16, 32}, {17, 33}, {64, 172}, {50, 64}, {150, 200}}) {
    for (const WeightFormat weights : {WeightFormat::kW3, WeightFormat::kW6}) {
      for (const ActivationFormat format : kFormats) {
        for (const int point : {16, 32}) {
          Check(weights, format, rows, cols, point, false);
        }
      }
    }
  }
}

TEST_F(BaseUnit, HoldsTheLargestSums) {
  constexpr int64_t kCols = 4096;
  for (const WeightFormat weights : {WeightFormat::kW3, WeightFormat::kW6}) {
    for (const ActivationFormat format : kFormats) {
      for (const bool negative : {false, true}) {
        const test::RandomMatrix matrix(weights, 8, kCols, random_, true);
        input_ = test::LargestInput(format, kCols, negative);
        CheckWith(matrix, weights, format, 8, kCols, 16, false);
      }
    }
  }
}

// A16 is worked on in two bytes, and every code is put together again.
TEST_F(BaseUnit, TakesEveryCodeOfAnInput) {
  constexpr int kLargest = 32'639;
  constexpr int64_t kCols = 4096;
  for (const WeightFormat weights : {WeightFormat::kW3, WeightFormat::kW6}) {
    for (const bool largest : {false, true}) {
      const test::RandomMatrix matrix(weights, 8, kCols, random_, largest);
      for (int first = -kLargest; first <= kLargest; first += kCols) {
        input_ = test::LargestInput(ActivationFormat::kA16, kCols, false);
        for (int64_t col = 0; col < kCols; ++col) {
          input_.codes[static_cast<size_t>(col)] =
              static_cast<int16_t>(std::min<int64_t>(first + col, kLargest));
        }
        CheckWith(matrix, weights, ActivationFormat::kA16, 8, kCols, 16, false);
      }
    }
  }
}

// What low bytes bring to the rounding: terms of both bytes near and at the half, at every shift.
TEST_F(BaseUnit, RoundsBothBytesTogether) {
  constexpr size_t kGroups = 16;
  constexpr int64_t kCols = kGroups * 32;
  for (const WeightFormat weights : {WeightFormat::kW3, WeightFormat::kW6}) {
    const test::RandomMatrix matrix(weights, 64, kCols, random_);
    for (int code = -131; code <= 131; code += 3) {
      input_ = test::LargestInput(ActivationFormat::kA16, kCols, false);
      std::ranges::fill(input_.codes, int16_t{0});
      for (size_t group = 0; group < kGroups; ++group) {
        input_.codes[32 * group + group] = static_cast<int16_t>(code);
        input_.shifts[group] = static_cast<uint8_t>(group);
      }
      input_.max_shift = 15;
      CheckWith(matrix, weights, ActivationFormat::kA16, 64, kCols, 16, false);
    }
  }
}

TEST_F(BaseUnit, GivesLogits) {
  Check(WeightFormat::kW6, ActivationFormat::kA8, 100, 64, 16, true);
  Check(WeightFormat::kW3, ActivationFormat::kA8, 30, 64, 16, true);
}

}  // namespace
}  // namespace etch::rtl
