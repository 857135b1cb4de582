// Every kernel set of this machine against numerics/: all formats, many shapes, extreme values.

#include "engine/cpu/kernels.h"

#include <gtest/gtest.h>

#include <tuple>

#include "engine/random_model_test.h"
#include "numerics/linear.h"

namespace etch::engine {
namespace {

using numerics::Activation;
using numerics::ActivationFormat;
using numerics::WeightFormat;

struct Case {
  const KernelSet* kernels;
  WeightFormat weights;
  ActivationFormat input;
};

class KernelsMatch : public ::testing::TestWithParam<Case> {};

std::vector<Activation> RandomInputs(int64_t cols, ActivationFormat format, size_t count,
                                     std::mt19937& random) {
  std::vector<Activation> inputs(count);
  for (size_t index = 0; index < count; ++index) {
    std::vector<int32_t> values(static_cast<size_t>(cols));
    for (int32_t& value : values) {
      // Blocks of very different size: some coarsened by the largest.
      const int bits = std::uniform_int_distribution<int>(1, index % 2 == 0 ? 31 : 18)(random);
      const auto bound = static_cast<int32_t>((int64_t{1} << bits) - 1);
      value = std::uniform_int_distribution<int32_t>(-bound, bound)(random);
    }
    numerics::QuantizeActivation(values, format, inputs[index]);
  }
  return inputs;
}

void ExpectEqual(const Case& what, const numerics::WeightView& view,
                 const std::vector<Activation>& inputs) {
  // Columns lie further apart than the matrix has rows; what is between stays.
  constexpr int32_t kUntouched = 12345;
  const int64_t stride = view.rows + 3;
  InputPanel panel;
  panel.Reset(inputs.front().format, view.cols, std::ssize(inputs));
  std::vector<int32_t> expected(inputs.size() * static_cast<size_t>(stride), kUntouched);
  for (size_t column = 0; column < inputs.size(); ++column) {
    PackColumn(inputs[column], static_cast<int64_t>(column), panel);
    numerics::MultiplyMatrix(view, inputs[column],
                             std::span(expected).subspan(column * static_cast<size_t>(stride),
                                                         static_cast<size_t>(view.rows)));
  }
  std::vector<int32_t> out(expected.size(), kUntouched);
  const int64_t tiles = numerics::TileCount(view.rows);
  // In two parts, as threads split it.
  what.kernels->multiply(view, panel, 0, tiles / 2, out.data(), stride);
  what.kernels->multiply(view, panel, tiles / 2, tiles, out.data(), stride);
  EXPECT_EQ(out, expected) << view.rows << " x " << view.cols << ", " << inputs.size();
}

TEST_P(KernelsMatch, ForManyShapes) {
  std::mt19937 random(99);
  for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{1, 1},
                                   {16, 32},
                                   {17, 33},
                                   {5, 64},
                                   {31, 172},
                                   {49, 16},
                                   {48, 31},
                                   {33, 576},
                                   {15, 4096},
                                   {100, 95},
                                   {4096, 64},
                                   {63, 257}}) {
    const auto data = test::RandomWeights(GetParam().weights, rows, cols, 1e-3, random);
    const numerics::WeightView view{GetParam().weights, rows, cols, data.data(),
                                    &numerics::kDefaultLevels};
    // One column of a second block too, where the product is small.
    const size_t most = rows * cols < 10000 ? kBlockColumns + 1 : 65;
    for (const size_t count : {size_t{1}, size_t{2}, size_t{5}, most}) {
      ExpectEqual(GetParam(), view, RandomInputs(cols, GetParam().input, count, random));
    }
  }
}

// The largest levels, scales and inputs, of equal and of alternating sign, at the widest matrix.
// The code -128 of W8 is one that only a damaged file holds.
TEST_P(KernelsMatch, AtTheBounds) {
  const int64_t cols = model::kMaxFfnDim;
  const WeightFormat format = GetParam().weights;
  const numerics::LevelTables levels = {
      {{{{-31, 31, -31, 31, 0, 31, 31, -31}}, {{31, -31, 31, 31, 31, 31, 31, 31}}}}};
  std::vector<std::byte> data(static_cast<size_t>(numerics::WeightBytes(format, 16, cols)));
  for (int64_t row = 0; row < 16; ++row) {
    numerics::PackRowScale(data, row, {0xffff, static_cast<int8_t>(row == 5 ? 20 : -20 - row)});
    for (int64_t group = 0; group < numerics::GroupCount(cols); ++group) {
      numerics::RowGroup values;
      values.codes.fill(static_cast<int8_t>(format == WeightFormat::kW3    ? row % 2
                                            : format == WeightFormat::kW6  ? 63 * (row % 2)
                                            : format == WeightFormat::kW4F ? 7 + 8 * (row % 2)
                                            : row % 3 == 0                 ? -127
                                            : row % 3 == 1                 ? 127
                                                                           : -128));
      values.scale = static_cast<int8_t>(format == WeightFormat::kW3   ? -16
                                         : format == WeightFormat::kW6 ? 63
                                                                       : 1);
      if (format == WeightFormat::kW4F && row >= 4) {  // others at the bound, these far below
        values.halvings = static_cast<uint8_t>((row + group) % 16);
      }
      numerics::PackGroup(format, cols, data, row, group, values);
    }
  }
  const numerics::WeightView view{format, 16, cols, data.data(), &levels};
  std::vector<Activation> inputs(4);
  std::vector<int32_t> values(static_cast<size_t>(cols), numerics::kMax32);
  numerics::QuantizeActivation(values, GetParam().input, inputs[0]);
  for (size_t index = 0; index < values.size(); index += 2) {
    values[index] = index % 64 == 0 ? -numerics::kMax32 : 1;
  }
  numerics::QuantizeActivation(values, GetParam().input, inputs[1]);
  // Every other block the widest spread below the largest, and full: the largest shifts there are.
  for (size_t index = 0; index < values.size(); ++index) {
    values[index] = index / 32 % 2 == 0 ? numerics::kMax32 : 65535;
  }
  numerics::QuantizeActivation(values, GetParam().input, inputs[2]);
  // A16: high planes of 127 and low planes of -128.
  std::fill(values.begin(), values.end(), 126 * 256 + 128);
  numerics::QuantizeActivation(values, GetParam().input, inputs[3]);
  ExpectEqual(GetParam(), view, inputs);
  for (const Activation& input : inputs) {  // the way of one column
    ExpectEqual(GetParam(), view, {input});
  }
}

// y[row] = sat(y[row] + WeighDelta(product, weight)) by the definition, for random y, in two parts.
void ExpectAdded(const KernelSet& kernels, const numerics::WeightView& view,
                 const std::vector<Activation>& inputs, int32_t weight, int bits,
                 std::mt19937& random) {
  constexpr int32_t kUntouched = 12345;
  const auto stride = static_cast<size_t>(view.rows + 3);
  InputPanel panel;
  panel.Reset(inputs.front().format, view.cols, std::ssize(inputs));
  std::vector<int32_t> y(inputs.size() * stride, kUntouched);
  std::vector<int32_t> expected = y;
  std::vector<int32_t> product(static_cast<size_t>(view.rows));
  const auto bound = static_cast<int32_t>((int64_t{1} << bits) - 1);
  for (size_t column = 0; column < inputs.size(); ++column) {
    PackColumn(inputs[column], static_cast<int64_t>(column), panel);
    numerics::MultiplyMatrix(view, inputs[column], product);
    for (size_t row = 0; row < product.size(); ++row) {
      const int32_t base = std::uniform_int_distribution<int32_t>(-bound, bound)(random);
      y[column * stride + row] = base;
      expected[column * stride + row] =
          numerics::Saturate32(base + numerics::WeighDelta(product[row], weight));
    }
  }
  std::vector<AdapterUse> uses;
  for (int64_t column = 0; column < std::ssize(inputs); ++column) {
    uses.push_back({column, weight});
  }
  const AddedTo to{y.data(), static_cast<int64_t>(stride), uses};
  const int64_t tiles = numerics::TileCount(view.rows);
  kernels.multiply_add(view, panel, 0, tiles / 3, to);
  kernels.multiply_add(view, panel, tiles / 3, tiles, to);
  EXPECT_EQ(y, expected) << view.rows << " x " << view.cols << ", " << inputs.size() << ", weight "
                         << weight << ", " << bits << " bits";
}

// The ranks of an adapter's B: half a group, a group, several. Row scales that shift far down, by
// the bit or two around the kernels' bound, and up, where products saturate.
TEST(MultiplyAdd, RoundsWeighsAndSaturates) {
  std::mt19937 random(3);
  for (const KernelSet* kernels : AvailableKernels()) {
    SCOPED_TRACE(kernels->isa);
    for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{1, 1},
                                     {16, 16},
                                     {40, 8},
                                     {170, 16},
                                     {33, 17},
                                     {64, 32},
                                     {49, 33},
                                     {300, 64}}) {
      for (const double magnitude : {1e-7, 1e-3, 0.02, 0.3, 1e3, 1e6}) {
        const auto data = test::RandomWeights(WeightFormat::kW8, rows, cols, magnitude, random);
        const numerics::WeightView view{WeightFormat::kW8, rows, cols, data.data(), nullptr};
        for (const size_t count : {1, 3, 66, int{kBlockColumns} + 9}) {
          const auto inputs = RandomInputs(cols, ActivationFormat::kA8, count, random);
          for (const int32_t weight :
               {1 << 16, 1 << 15, -(1 << 16), 0, -3, numerics::kMax32, -numerics::kMax32}) {
            ExpectAdded(*kernels, view, inputs, weight, weight % 2 == 0 ? 31 : 20, random);
          }
        }
      }
    }
  }
}

// Every row exponent there is, with the largest codes of either sign.
TEST(MultiplyAdd, AtTheBounds) {
  std::mt19937 random(4);
  const int64_t cols = 16;
  std::vector<int32_t> values(static_cast<size_t>(cols), numerics::kMax32);
  for (const int32_t largest : {numerics::kMax32, 1 << 20, 127, 1}) {
    for (size_t index = 0; index < values.size(); ++index) {
      values[index] = index % 5 == 4 ? -largest : largest;
    }
    std::vector<Activation> inputs(1);
    numerics::QuantizeActivation(values, ActivationFormat::kA8, inputs[0]);
    for (int exponent = -128; exponent < 128; ++exponent) {
      std::vector<std::byte> data(
          static_cast<size_t>(numerics::WeightBytes(WeightFormat::kW8, 16, cols)));
      for (int64_t row = 0; row < 16; ++row) {
        numerics::PackRowScale(data, row,
                               {static_cast<uint16_t>(row % 2 == 0 ? 0xffff : 0x8000 + row),
                                static_cast<int8_t>(exponent)});
        numerics::RowGroup group;
        group.codes.fill(static_cast<int8_t>(row % 3 == 0 ? -127 : row % 3 == 1 ? 127 : -128));
        group.scale = 1;
        numerics::PackGroup(WeightFormat::kW8, cols, data, row, 0, group);
      }
      const numerics::WeightView view{WeightFormat::kW8, 16, cols, data.data(), nullptr};
      for (const KernelSet* kernels : AvailableKernels()) {
        SCOPED_TRACE(kernels->isa);
        ExpectAdded(*kernels, view, inputs, 1 << 16, 31, random);
      }
    }
  }
}

std::vector<Case> Cases() {
  std::vector<Case> cases;
  for (const KernelSet* kernels : AvailableKernels()) {
    for (const WeightFormat weights :
         {WeightFormat::kW3, WeightFormat::kW6, WeightFormat::kW8, WeightFormat::kW4F}) {
      for (const ActivationFormat input : {ActivationFormat::kA8, ActivationFormat::kA16}) {
        cases.push_back({kernels, weights, input});
      }
    }
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Sets, KernelsMatch, ::testing::ValuesIn(Cases()),
                         [](const ::testing::TestParamInfo<Case>& at) {
                           return std::string(at.param.kernels->isa) + "_" +
                                  std::string(numerics::FormatName(at.param.weights)) +
                                  (at.param.input == ActivationFormat::kA8 ? "_A8" : "_A16");
                         });

TEST(SelectKernels, ByNameOrTheBest) {
  const auto best = SelectKernels("");
  ASSERT_TRUE(best);
  EXPECT_EQ(*best, AvailableKernels().front());
  const auto generic = SelectKernels("generic");
  ASSERT_TRUE(generic);
  EXPECT_EQ((*generic)->isa, "generic");
  const auto unknown = SelectKernels("mmx");
  ASSERT_FALSE(unknown);
  EXPECT_NE(unknown.error().message.find("generic"), std::string::npos);
}

}  // namespace
}  // namespace etch::engine
