// Lowered adapters through the integer matrix product, against the float product with a bound.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "adapter/adapter.h"
#include "adapter/random_adapter_test.h"
#include "numerics/linear.h"

namespace etch::adapter {
namespace {

using engine::AdapterLinear;
using model::Role;
using testing::ErrorOf;
using ::testing::HasSubstr;
using testing::RandomAdapter;
using testing::TinyConfig;

constexpr double kUnit = 1.0 / 65536.0;  // of an I32

model::Config WideConfig() {
  model::Config config = TinyConfig();
  config.dim = 192;
  config.ffn_dim = 344;
  config.n_layers = 1;
  return config;
}

Adapter OnePairAdapter(const model::Config& config, Role role, int64_t rank, float a_size,
                       float b_size) {
  Adapter adapter;
  adapter.name = "one";
  adapter.pairs.push_back(testing::RandomPair(config, role, 0, rank, 17));
  for (float& value : adapter.pairs[0].a) {
    value *= a_size;
  }
  for (float& value : adapter.pairs[0].b) {
    value *= b_size;
  }
  return adapter;
}

// An input and the value of each of its codes.
struct Input {
  numerics::Activation codes;
  std::vector<double> values;
};

std::vector<double> ValuesOf(const numerics::Activation& codes) {
  std::vector<double> values;
  for (size_t index = 0; index < codes.codes.size(); ++index) {
    values.push_back(std::ldexp(static_cast<double>(codes.codes[index]),
                                codes.shifts[index / numerics::kBlock] - codes.point));
  }
  return values;
}

Input RandomInput(int64_t cols, double size) {
  std::mt19937 random(4);
  std::vector<int32_t> raw(static_cast<size_t>(cols));
  for (int32_t& value : raw) {
    value = static_cast<int32_t>(size * (static_cast<double>(random() % 65536) * 2.0 - 65535.0));
  }
  Input input;
  numerics::QuantizeActivation(raw, numerics::ActivationFormat::kA8, input.codes);
  input.values = ValuesOf(input.codes);
  return input;
}

// The most that W8 codes, the alignment of groups and the final rounding can move row `row` of
// weights · input: half a level a weight, half of 2^E a group, half a unit.
double ProductBound(const numerics::WeightView& weights, int64_t row,
                    const numerics::Activation& input, const std::vector<double>& values) {
  double absolute = 0.0;
  for (const double value : values) {
    absolute += std::abs(value);
  }
  const double level = numerics::FromScale16(numerics::RowScale(weights, row));
  // A level above 127 in a row whose scale was rounded down is clamped: 2^-16 of its value.
  const double clamped = 127.0 * level * 0x1p-16;
  const double group = std::ldexp(0.5, input.max_shift - input.point);
  return absolute * (level / 2 + clamped) +
         static_cast<double>(numerics::GroupCount(weights.cols)) * group * level + kUnit;
}

struct Comparison {
  double worst = 0.0;     // error of an output, as a fraction of its bound
  double relative = 0.0;  // norm of the errors over the norm of the outputs
};

// B·(A·x)·scaling by integers and by doubles. The bound follows the error of u through B: A8's half
// step and the product's bound of each rank, times |B|.
Comparison Compare(const Adapter& adapter, const model::Config& config, double size) {
  const auto weights = Lower(adapter, config);
  EXPECT_TRUE(weights) << weights.error().message;
  const LoraPair& pair = adapter.pairs[0];
  const AdapterLinear& linear = (*weights)->Linear(0, pair.role);
  const auto view_a = linear.ViewA(pair.cols);
  const auto view_b = linear.ViewB(pair.rows);
  const Input x = RandomInput(pair.cols, size);
  std::vector<int32_t> reduced(static_cast<size_t>(linear.padded_rank()));
  numerics::MultiplyMatrix(view_a, x.codes, reduced);
  numerics::Activation u;
  numerics::QuantizeActivation(reduced, numerics::ActivationFormat::kA8, u);
  std::vector<int32_t> delta(static_cast<size_t>(pair.rows));
  numerics::MultiplyMatrix(view_b, u, delta);

  std::vector<float> row_b(static_cast<size_t>(linear.rank));
  Comparison result;
  double error_norm = 0.0;
  double norm = 0.0;
  for (int64_t row = 0; row < pair.rows; ++row) {
    numerics::DequantizeRow(view_b, row, row_b);
    const double level_b = numerics::FromScale16(numerics::RowScale(view_b, row));
    double expected = 0.0;
    double bound = ProductBound(view_b, row, u, ValuesOf(u));
    for (int64_t rank = 0; rank < pair.rank; ++rank) {
      double dot = 0.0;
      for (int64_t col = 0; col < pair.cols; ++col) {
        dot += static_cast<double>(pair.a[static_cast<size_t>(rank * pair.cols + col)]) *
               x.values[static_cast<size_t>(col)];
      }
      const auto index = static_cast<size_t>(rank);
      expected += pair.scaling * dot *
                  static_cast<double>(pair.b[static_cast<size_t>(row * pair.rank + rank)]);
      const double step = std::ldexp(0.5, u.shifts[index / numerics::kBlock] - u.point);
      const double u_error = step + ProductBound(view_a, rank, x.codes, x.values);
      bound += u_error * (std::abs(static_cast<double>(row_b[index])) + level_b);
    }
    const double error = static_cast<double>(delta[static_cast<size_t>(row)]) * kUnit - expected;
    result.worst = std::max(result.worst, std::abs(error) / bound);
    error_norm += error * error;
    norm += expected * expected;
  }
  result.relative = std::sqrt(error_norm / norm);
  return result;
}

// What independent roundings to 8 bits should cost: a uniform value in ±1 has size 1/√3, half a
// step of 1/127 has size 1/(127·√12); twice for the weights, once for u, whose step is up to two
// sizes of 127 wide and whose largest of 64 lies near 2.5 standard deviations: 5 of 1/(127·√12).
// Half as much again for the draw.
double RelativeErrorLimit() {
  const double weights = std::sqrt(3.0) / (127.0 * std::sqrt(12.0));
  const double reduced = 5.0 / (127.0 * std::sqrt(12.0));
  return 1.5 * std::sqrt(2.0 * weights * weights + reduced * reduced);
}

TEST(Lower, ProductEqualsFloatToW8Accuracy) {
  for (const int64_t rank : {1, 8, 16, 33, 64}) {
    for (const Role role : {Role::kWq, Role::kUp, Role::kDown}) {
      const model::Config config = WideConfig();
      const auto found = Compare(OnePairAdapter(config, role, rank, 0.1F, 1.0F), config, 1.0);
      EXPECT_LE(found.worst, 1.0) << rank;
      EXPECT_LE(found.relative, RelativeErrorLimit()) << rank;
    }
  }
}

TEST(Lower, TinyAAndLargeBKeepTheirBits) {
  const model::Config config = WideConfig();
  for (const auto& [a_size, b_size] : {std::pair(1e-5F, 1e4F), std::pair(1e-20F, 1e19F),
                                       std::pair(1e4F, 1e-5F), std::pair(1e-38F, 1e37F)}) {
    for (const int64_t rank : {8, 33}) {
      const auto found =
          Compare(OnePairAdapter(config, Role::kGate, rank, a_size, b_size), config, 1.0);
      EXPECT_LE(found.worst, 1.0) << a_size;
      EXPECT_LE(found.relative, RelativeErrorLimit()) << a_size;
    }
  }
}

// Rows of A a million apart, with B the other way round: each rank adds as much, none may drown.
TEST(Lower, UnequalRanksAreBalanced) {
  const model::Config config = WideConfig();
  Adapter adapter = OnePairAdapter(config, Role::kUp, 16, 1.0F, 1.0F);
  LoraPair& pair = adapter.pairs[0];
  for (int64_t rank = 0; rank < pair.rank; ++rank) {
    const float factor = std::pow(10.0F, static_cast<float>(rank % 7) - 3.0F);
    for (int64_t col = 0; col < pair.cols; ++col) {
      pair.a[static_cast<size_t>(rank * pair.cols + col)] *= factor;
    }
    for (int64_t row = 0; row < pair.rows; ++row) {
      pair.b[static_cast<size_t>(row * pair.rank + rank)] /= factor;
    }
  }
  const auto found = Compare(adapter, config, 1.0);
  EXPECT_LE(found.worst, 1.0);
  EXPECT_LE(found.relative, RelativeErrorLimit());
}

TEST(Lower, SmallInputsKeepTheirBits) {
  const model::Config config = WideConfig();
  const Adapter adapter = OnePairAdapter(config, Role::kUp, 16, 1.0F, 100.0F);
  EXPECT_LE(Compare(adapter, config, 1.0 / 256.0).relative, RelativeErrorLimit());
}

TEST(Lower, RowsOfAHaveEqualNorms) {
  const model::Config config = WideConfig();
  Adapter adapter = OnePairAdapter(config, Role::kUp, 5, 1e-3F, 1.0F);
  const auto weights = Lower(adapter, config).value();
  const AdapterLinear& linear = weights->Linear(0, Role::kUp);
  std::vector<float> row(192);
  for (int64_t rank = 0; rank < linear.rank; ++rank) {
    numerics::DequantizeRow(linear.ViewA(192), rank, row);
    double sum = 0.0;
    for (const float value : row) {
      sum += static_cast<double>(value) * static_cast<double>(value);
    }
    const double norm = std::sqrt(sum);
    EXPECT_TRUE(norm > 7.9 && norm < 16.1) << rank << " " << norm;
  }
}

TEST(Lower, RowOfZerosAddsNothing) {
  const model::Config config = WideConfig();
  Adapter adapter = OnePairAdapter(config, Role::kUp, 2, 1.0F, 1.0F);
  std::fill_n(adapter.pairs[0].a.begin(), 192, 0.0F);
  for (int64_t row = 0; row < config.ffn_dim; ++row) {
    adapter.pairs[0].b[static_cast<size_t>(2 * row)] = 1e30F;  // would take every bit of its row
  }
  const auto found = Compare(adapter, config, 1.0);
  EXPECT_LE(found.relative, RelativeErrorLimit());
}

TEST(Lower, FillsEveryFieldOfTheLayersThatAreAdapted) {
  const model::Config config = TinyConfig();
  Adapter adapter = RandomAdapter(config, 33);
  adapter.pairs.erase(adapter.pairs.begin() + 1);  // k of layer 0
  const auto weights = Lower(adapter, config).value();
  EXPECT_EQ(weights->name, "random");
  EXPECT_EQ(weights->n_layers, 2);
  ASSERT_EQ(weights->linears.size(), 14);
  EXPECT_EQ(weights->Linear(0, Role::kWk).rank, 0);
  uint64_t size = 0;
  for (const LoraPair& pair : adapter.pairs) {
    const AdapterLinear& linear = weights->Linear(pair.layer, pair.role);
    EXPECT_EQ(linear.rank, 33);
    EXPECT_EQ(linear.padded_rank(), 64);
    using numerics::WeightFormat;
    EXPECT_EQ(linear.a.size(), numerics::WeightBytes(WeightFormat::kW8, pair.rank, pair.cols));
    EXPECT_EQ(linear.b.size(), numerics::WeightBytes(WeightFormat::kW8, pair.rows, pair.rank));
    EXPECT_EQ(linear.a_float, pair.a);
    ASSERT_EQ(linear.b_float.size(), pair.b.size());
    EXPECT_EQ(linear.b_float[7], 2.0F * pair.b[7]);
    size += linear.a.size() + linear.b.size();
  }
  EXPECT_EQ(weights->size_bytes, size);
}

TEST(Lower, IsDeterministic) {
  const auto one = Lower(RandomAdapter(TinyConfig(), 8), TinyConfig()).value();
  const auto two = Lower(RandomAdapter(TinyConfig(), 8), TinyConfig()).value();
  for (size_t index = 0; index < one->linears.size(); ++index) {
    EXPECT_EQ(one->linears[index].a, two->linears[index].a);
    EXPECT_EQ(one->linears[index].b, two->linears[index].b);
  }
}

TEST(Lower, RefusesWhatNoReaderMakes) {
  const model::Config config = TinyConfig();
  const auto error = [&config](const Adapter& adapter) { return ErrorOf(Lower(adapter, config)); };
  Adapter adapter;
  adapter.name = "x";
  EXPECT_EQ(error(adapter), "invalid_argument: adapter \"x\" has no pairs");
  adapter = RandomAdapter(config, 2);
  std::swap(adapter.pairs[0], adapter.pairs[1]);
  EXPECT_THAT(error(adapter), HasSubstr("pairs are not sorted by layer and role"));
  adapter = RandomAdapter(config, 2);
  adapter.pairs[3].b.pop_back();
  EXPECT_THAT(error(adapter), HasSubstr("blk.0.attn_output: rank 2 and the sizes of A and B"));
  adapter = RandomAdapter(config, 2);
  adapter.pairs[3].a[1] = std::numeric_limits<float>::infinity();
  EXPECT_THAT(error(adapter), HasSubstr("a value is not finite"));
  adapter = RandomAdapter(config, 2);
  adapter.pairs[3].scaling = std::nan("");
  EXPECT_THAT(error(adapter), HasSubstr("a value is not finite"));
  adapter = RandomAdapter(config, 2);
  adapter.pairs[3].scaling = 1e30;
  adapter.pairs[3].b[0] = 1e30F;
  EXPECT_THAT(error(adapter), HasSubstr("times the scaling 1e+30 overflows"));
}

}  // namespace
}  // namespace etch::adapter
