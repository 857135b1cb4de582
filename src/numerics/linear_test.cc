// The dot product, held to 128-bit arithmetic and driven to each bound that contract §14 proves.

#include "numerics/linear.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "model/config.h"

namespace etch::numerics {
namespace {

__extension__ using Wide = __int128;

constexpr int64_t kMostGroups = model::kMaxFfnDim / kGroup;  // 896

// One row of a matrix, as groups.
struct Row {
  WeightFormat format = WeightFormat::kW3;
  LevelTables levels = kDefaultLevels;
  std::vector<RowGroup> groups;
  Scale16 scale = {1 << 15, -15};

  int64_t cols() const { return static_cast<int64_t>(groups.size()) * kGroup; }
  std::vector<std::byte> Pack() const {
    std::vector<std::byte> tile(static_cast<size_t>(TileBytes(format, cols())));
    PackRowScale(tile, 0, scale);
    for (size_t group = 0; group < groups.size(); ++group) {
      PackGroup(format, cols(), tile, 0, static_cast<int64_t>(group), groups[group]);
    }
    return tile;
  }
};

int32_t Accumulate(const Row& row, const Activation& input) {
  const std::vector<std::byte> tile = row.Pack();
  return AccumulateRow({row.format, 1, row.cols(), tile.data(), &row.levels}, 0, input);
}

// Twice the E2M1 value of a code, from its bits.
int FloatLevel(int code) {
  const int exponent = (code >> 1) & 3;
  const int magnitude = exponent == 0 ? code & 1 : (2 + (code & 1)) << (exponent - 1);
  return (code & 8) != 0 ? -magnitude : magnitude;
}

int LevelOf(const Row& row, const RowGroup& group, size_t column) {
  const int code = group.codes[column];
  switch (row.format) {
    case WeightFormat::kW3:
      return row.levels.levels[group.table][static_cast<size_t>(code)];
    case WeightFormat::kW6:
      return code - 32;
    case WeightFormat::kW4F:
      return FloatLevel(code);
    default:
      return code;
  }
}

struct Peaks {
  Wide products = 0;
  Wide scaled = 0;
  Wide rounded = 0;
  Wide acc = 0;
};

// acc in 128 bits, and the largest magnitude of each intermediate.
Peaks WideAccumulate(const Row& row, const Activation& input) {
  const auto magnitude = [](Wide value) { return value < 0 ? -value : value; };
  Peaks peaks;
  for (size_t group = 0; group < row.groups.size(); ++group) {
    const RowGroup& values = row.groups[group];
    Wide products = 0;
    for (size_t column = 0; column < kGroup; ++column) {
      products += Wide{LevelOf(row, values, column)} * input.codes[group * kGroup + column];
    }
    const bool is_float = row.format == WeightFormat::kW4F;
    const Wide scaled = products * (is_float                          ? 32
                                    : row.format == WeightFormat::kW8 ? 1
                                                                      : values.scale);
    const int shift = BaseShift(row.format, input.format) + input.max_shift - input.shifts[group] +
                      (is_float ? values.halvings : 0);
    const Wide rounded = shift == 0 ? scaled : (scaled + (Wide{1} << (shift - 1))) >> shift;
    peaks.products = std::max(peaks.products, magnitude(products));
    peaks.scaled = std::max(peaks.scaled, magnitude(scaled));
    peaks.rounded = std::max(peaks.rounded, magnitude(rounded));
    peaks.acc += rounded;
  }
  return peaks;
}

Activation Constant(ActivationFormat format, int64_t blocks, int32_t code) {
  Activation input;
  input.format = format;
  input.point = kPoint;
  input.codes.assign(static_cast<size_t>(blocks * kBlock), static_cast<int16_t>(code));
  input.shifts.assign(static_cast<size_t>(blocks), 0);
  return input;
}

// A group whose every weight has the largest magnitude of its format.
RowGroup ExtremeGroup(WeightFormat format) {
  RowGroup group;
  group.codes.fill(format == WeightFormat::kW8    ? int8_t{-127}
                   : format == WeightFormat::kW4F ? int8_t{15}
                                                  : int8_t{0});
  group.scale = format == WeightFormat::kW3 ? -16 : format == WeightFormat::kW6 ? 63 : 1;
  return group;
}

struct Bound {
  WeightFormat weights;
  ActivationFormat input;
  int64_t products;
  int64_t scaled;
  int64_t rounded;
  int64_t acc;
};

// The table of contract §14.
constexpr std::array kBounds = {
    Bound{WeightFormat::kW3, ActivationFormat::kA8, 125984, 2015744, 2015744, 1806106624},
    Bound{WeightFormat::kW3, ActivationFormat::kA16, 32377888, 518046208, 2023618, 1813161728},
    Bound{WeightFormat::kW6, ActivationFormat::kA8, 130048, 8193024, 2048256, 1835237376},
    Bound{WeightFormat::kW6, ActivationFormat::kA16, 33422336, 2105607168, 2056257, 1842406272},
    Bound{WeightFormat::kW8, ActivationFormat::kA8, 516128, 516128, 516128, 462450688},
    Bound{WeightFormat::kW8, ActivationFormat::kA16, 132644896, 132644896, 518144, 464257024},
    Bound{WeightFormat::kW4F, ActivationFormat::kA8, 48768, 1560576, 1560576, 1398276096},
    Bound{WeightFormat::kW4F, ActivationFormat::kA16, 12533376, 401068032, 1566672, 1403738112},
};

TEST(Linear, AccumulatorsReachTheirBoundsAndDoNotPassThem) {
  for (const Bound& bound : kBounds) {
    SCOPED_TRACE(FormatName(bound.weights));
    Row row;
    row.format = bound.weights;
    row.levels.levels[0][0] = -31;
    row.groups.assign(static_cast<size_t>(kMostGroups), ExtremeGroup(bound.weights));
    for (const int sign : {1, -1}) {
      const Activation input = Constant(bound.input, kMostGroups, sign * MaxCode(bound.input));
      const Peaks peaks = WideAccumulate(row, input);
      EXPECT_EQ(static_cast<int64_t>(peaks.products), bound.products);
      EXPECT_EQ(static_cast<int64_t>(peaks.scaled), bound.scaled);
      EXPECT_EQ(static_cast<int64_t>(peaks.rounded), bound.rounded);
      EXPECT_EQ(std::abs(static_cast<int64_t>(peaks.acc)), bound.acc);
      EXPECT_LE(bound.acc, INT32_MAX);
      // The half that is added before the shift fits 32 bits as well.
      EXPECT_LE(bound.scaled + (int64_t{1} << 24), INT32_MAX);
      EXPECT_EQ(Accumulate(row, input), static_cast<int64_t>(peaks.acc));
    }
  }
}

// No weights and codes whatever pass the bounds of one group: the extremes of each factor.
TEST(Linear, NoExtremeGroupPassesItsBound) {
  for (const Bound& bound : kBounds) {
    for (const int code : {-127, 0, 7, 63, 127}) {
      for (const int scale : {-16, 15, 0, 63}) {
        Row row;
        row.format = bound.weights;
        row.levels.levels[0] = {-31, 31, 31, 31, 31, 31, 31, 31};
        RowGroup group;
        const int lowest = bound.weights == WeightFormat::kW8 ? -127 : 0;
        const int highest = bound.weights == WeightFormat::kW3    ? 7
                            : bound.weights == WeightFormat::kW6  ? 63
                            : bound.weights == WeightFormat::kW4F ? 15
                                                                  : 127;
        group.codes.fill(static_cast<int8_t>(std::clamp(code, lowest, highest)));
        group.scale = static_cast<int8_t>(bound.weights == WeightFormat::kW3 ? std::min(scale, 15)
                                                                             : std::max(scale, 0));
        if (bound.weights == WeightFormat::kW8 || bound.weights == WeightFormat::kW4F) {
          group.scale = 1;
        }
        group.halvings = static_cast<uint8_t>(
            bound.weights == WeightFormat::kW4F ? std::clamp(scale, 0, 15) : 0);
        row.groups = {group};
        const Peaks peaks = WideAccumulate(row, Constant(bound.input, 1, -MaxCode(bound.input)));
        EXPECT_LE(peaks.products, bound.products);
        EXPECT_LE(peaks.scaled, bound.scaled);
        EXPECT_LE(peaks.rounded, bound.rounded);
      }
    }
  }
}

Row RandomRow(WeightFormat format, size_t groups, uint32_t state) {
  const auto next = [&state](int low, int high) {
    state = state * 1664525 + 1013904223;
    return low + static_cast<int>((state >> 8) % static_cast<uint32_t>(high - low + 1));
  };
  Row row;
  row.format = format;
  row.groups.resize(groups);
  for (RowGroup& group : row.groups) {
    for (int8_t& code : group.codes) {
      code = static_cast<int8_t>(format == WeightFormat::kW3    ? next(0, 7)
                                 : format == WeightFormat::kW6  ? next(0, 63)
                                 : format == WeightFormat::kW4F ? next(0, 15)
                                                                : next(-127, 127));
    }
    group.table = static_cast<uint8_t>(format == WeightFormat::kW3 ? next(0, 1) : 0);
    group.scale = static_cast<int8_t>(format == WeightFormat::kW3   ? next(-16, 15)
                                      : format == WeightFormat::kW6 ? next(0, 63)
                                                                    : 1);
    group.halvings = static_cast<uint8_t>(format == WeightFormat::kW4F ? next(0, 15) : 0);
  }
  return row;
}

Activation RandomInput(ActivationFormat format, size_t blocks, uint32_t state) {
  std::vector<int32_t> values(blocks * kBlock);
  for (size_t index = 0; index < values.size(); ++index) {
    state = state * 1664525 + 1013904223;
    const auto drop =
        (state >> 5) % 4 + static_cast<uint32_t>(index / kBlock * 7 % 25);  // spreads past 15
    values[index] = static_cast<int32_t>(state) / (1 << drop);
  }
  Activation input;
  QuantizeActivation(values, format, input);
  return input;
}

RC_GTEST_PROP(LinearProperty, AgreesWithWideArithmetic, (uint32_t seed)) {
  const auto groups = *rc::gen::inRange<size_t>(1, 20);
  for (const Bound& bound : kBounds) {
    const Row row = RandomRow(bound.weights, groups, seed);
    const Activation input = RandomInput(bound.input, groups, seed ^ 77U);
    RC_ASSERT(Accumulate(row, input) == static_cast<int64_t>(WideAccumulate(row, input).acc));
  }
}

RC_GTEST_PROP(LinearProperty, OrderAndSplitDoNotMatter, (uint32_t seed)) {
  const auto groups = *rc::gen::inRange<size_t>(2, 20);
  for (const Bound& bound : kBounds) {
    const Row row = RandomRow(bound.weights, groups, seed);
    const Activation input = RandomInput(bound.input, groups, seed ^ 77U);
    const int32_t whole = Accumulate(row, input);
    Row turned = row;
    Activation turned_input = input;
    std::rotate(turned.groups.begin(), turned.groups.begin() + 1, turned.groups.end());
    std::rotate(turned_input.shifts.begin(), turned_input.shifts.begin() + 1,
                turned_input.shifts.end());
    std::rotate(turned_input.codes.begin(), turned_input.codes.begin() + kBlock,
                turned_input.codes.end());
    RC_ASSERT(Accumulate(turned, turned_input) == whole);
    // Two halves of the columns, each with the vector's max_shift, add up.
    int32_t sum = 0;
    const size_t cut = groups / 2;
    for (const auto& [begin, end] : {std::pair{size_t{0}, cut}, {cut, groups}}) {
      Row part = row;
      Activation part_input = input;
      part.groups = {row.groups.begin() + static_cast<int64_t>(begin),
                     row.groups.begin() + static_cast<int64_t>(end)};
      part_input.shifts = {input.shifts.begin() + static_cast<int64_t>(begin),
                           input.shifts.begin() + static_cast<int64_t>(end)};
      part_input.codes = {input.codes.begin() + static_cast<int64_t>(begin) * kBlock,
                          input.codes.begin() + static_cast<int64_t>(end) * kBlock};
      sum += Accumulate(part, part_input);
    }
    RC_ASSERT(sum == whole);
  }
}

TEST(Linear, SmallBlocksAreShiftedAndRounded) {
  Row row;
  row.format = WeightFormat::kW8;
  row.groups.resize(2);
  row.groups[0].codes[0] = 1;
  row.groups[1].codes[0] = 1;
  Activation input = Constant(ActivationFormat::kA8, 2, 0);
  input.codes[0] = 100;
  input.codes[32] = 12;
  input.shifts = {3, 0};
  input.max_shift = 3;
  EXPECT_EQ(Accumulate(row, input), 100 + 2);  // 12 / 8 = 1.5 rounds up
  input.codes[32] = -12;
  EXPECT_EQ(Accumulate(row, input), 100 - 1);
  input.codes[32] = 11;
  EXPECT_EQ(Accumulate(row, input), 100 + 1);
}

// All codes, halvings and A8 inputs: the sum keeps five bits below its point.
TEST(Linear, EveryFloatWeightTimesEveryInput) {
  Row row;
  row.format = WeightFormat::kW4F;
  row.groups.resize(1);
  Activation input = Constant(ActivationFormat::kA8, 1, 0);
  for (int code = 0; code < 16; ++code) {
    for (int halvings = 0; halvings < 16; ++halvings) {
      row.groups[0].codes[7] = static_cast<int8_t>(code);
      row.groups[0].halvings = static_cast<uint8_t>(halvings);
      const std::vector<std::byte> tile = row.Pack();
      const WeightView view = {row.format, 1, kGroup, tile.data(), nullptr};
      for (int x = -127; x <= 127; ++x) {
        input.codes[7] = static_cast<int16_t>(x);
        // floor(level · x · 32 / 2^halvings + 1/2)
        const int numerator = 2 * FloatLevel(code) * x * 32 + (1 << halvings);
        const int divisor = 2 << halvings;
        const int floor = numerator / divisor - (numerator % divisor < 0 ? 1 : 0);
        ASSERT_EQ(AccumulateRow(view, 0, input), floor) << code << " " << halvings << " " << x;
      }
    }
  }
}

TEST(Linear, FloatResultsAreTrueToScale) {
  Row row;
  row.format = WeightFormat::kW4F;
  row.groups.resize(2);
  row.groups[0].codes[0] = 7;  // 12
  row.groups[1].codes[0] = 9;  // -1/16
  row.groups[1].halvings = 4;
  const std::vector<std::byte> tile = row.Pack();
  for (const ActivationFormat format : {ActivationFormat::kA8, ActivationFormat::kA16}) {
    Activation input;
    std::vector<int32_t> values(64);
    values[0] = 64 << 16;
    values[32] = 64 << 16;
    QuantizeActivation(values, format, input);
    std::vector<int32_t> out(1);
    MultiplyMatrix({row.format, 1, 64, tile.data(), nullptr}, input, out);
    EXPECT_EQ(out[0], (12 * 64 - 4) << 16);
  }
}

// The largest shift of a W4F sum is 8 + 15 + 15 = 38; backends may stop at 31 and stay in 32 bits.
TEST(Linear, FloatSumsShiftWithin32Bits) {
  constexpr int32_t kLargest = 401068032;
  std::vector<int32_t> sums = {0, 1, -1, 31, 32, -32, kLargest, -kLargest, kLargest - 1};
  for (int bit = 1; bit < 29; ++bit) {
    sums.insert(sums.end(), {1 << bit, -(1 << bit), (1 << bit) - 1, 1 - (1 << bit)});
  }
  for (const int32_t sum : sums) {
    for (int shift = 1; shift <= 38; ++shift) {
      const int bounded = std::min(shift, 31);
      const int64_t raised = int64_t{sum} + (int64_t{1} << (bounded - 1));
      ASSERT_LE(std::abs(raised), INT32_MAX);
      ASSERT_EQ(static_cast<int32_t>(raised) >> bounded, RoundShiftRight(sum, shift)) << shift;
    }
  }
}

TEST(Linear, FinishingScalesRoundsAndSaturates) {
  const Scale16 one = {1 << 15, -15};
  EXPECT_EQ(FinishRow(7, one, 0, 16, 0), 7);
  EXPECT_EQ(FinishRow(7, one, 2, 16, 8), 7 << 10);
  EXPECT_EQ(FinishRow(7, one, 2, 32, 0), 0);
  EXPECT_EQ(FinishRow(7, {49152, -16}, 0, 16, 0), 5);    // 5.25
  EXPECT_EQ(FinishRow(-2, {49152, -16}, 0, 16, 0), -1);  // -1.5 rounds up
  EXPECT_EQ(FinishRow(1, {65535, 127}, 56, 16, 10), kMax32);
  EXPECT_EQ(FinishRow(-1, {65535, 127}, 56, 16, 10), -kMax32);
  EXPECT_EQ(FinishRow(-INT32_MAX, {65535, -128}, 0, 32, 0), 0);
  EXPECT_EQ(FinishRow(123, {0, 127}, 56, 16, 10), 0);
}

TEST(Linear, MatricesOfSeveralTilesGoRowByRow) {
  constexpr int64_t kRows = 35;
  const Row row = RandomRow(WeightFormat::kW3, 3, 5);
  const auto tile_bytes = static_cast<size_t>(TileBytes(row.format, 80));
  std::vector<std::byte> bytes(static_cast<size_t>(WeightBytes(row.format, kRows, 80)));
  for (int64_t index = 0; index < kRows; ++index) {
    const std::span<std::byte> tile =
        std::span(bytes).subspan(static_cast<size_t>(index / 16) * tile_bytes, tile_bytes);
    PackRowScale(tile, index % 16, {static_cast<uint16_t>(32768 + index), -15});
    for (int64_t group = 0; group < 3; ++group) {
      PackGroup(row.format, 80, tile, index % 16, group, row.groups[static_cast<size_t>(group)]);
    }
  }
  Activation input;
  QuantizeActivation(std::vector<int32_t>(80, 12345), ActivationFormat::kA8, input);
  const WeightView view = {row.format, kRows, 80, bytes.data(), &kDefaultLevels};
  std::vector<int32_t> out(kRows);
  MultiplyMatrix(view, input, out);
  // Columns 80 to 95 are padding: their weights are there, but their inputs are zero.
  const int32_t acc = Accumulate(row, input);
  for (int64_t index = 0; index < kRows; ++index) {
    EXPECT_EQ(AccumulateRow(view, index, input), acc);
    EXPECT_EQ(out[static_cast<size_t>(index)],
              FinishRow(acc, {static_cast<uint16_t>(32768 + index), -15}, input.max_shift, 16, 0));
  }
}

TEST(Linear, EmbeddingRowsAreRoundedOnce) {
  Row row = RandomRow(WeightFormat::kW6, 2, 9);
  row.groups[0].codes[0] = 0;
  row.groups[0].scale = 63;
  for (const int exponent : {-128, -30, -20, 0, 127}) {
    row.scale = {65535, static_cast<int8_t>(exponent)};
    const std::vector<std::byte> tile = row.Pack();
    std::vector<int32_t> out(50);
    EmbedRow({row.format, 1, 50, tile.data(), nullptr}, 0, out);
    for (size_t column = 0; column < out.size(); ++column) {
      const RowGroup& group = row.groups[column / 32];
      const int64_t product = int64_t{group.codes[column % 32] - 32} * group.scale * 65535;
      EXPECT_LE(std::abs(product), int64_t{2016} * 65535);
      EXPECT_EQ(out[column], ShiftSaturate32(product, exponent + 16));
    }
    if (exponent == -20) {
      EXPECT_EQ(out[0], (-2016 * 65535 + 8) >> 4);
    }
  }
}

TEST(Linear, FloatEmbeddingRowsAreRoundedOnce) {
  Row row = RandomRow(WeightFormat::kW4F, 2, 9);
  row.groups[0].codes[0] = 15;
  for (const int halvings : {0, 1, 15}) {
    row.groups[0].halvings = static_cast<uint8_t>(halvings);
    for (const int exponent : {-128, -30, -20, 0, 127}) {
      row.scale = {65535, static_cast<int8_t>(exponent)};
      const std::vector<std::byte> tile = row.Pack();
      std::vector<int32_t> out(50);
      EmbedRow({row.format, 1, 50, tile.data(), nullptr}, 0, out);
      for (size_t column = 0; column < out.size(); ++column) {
        const RowGroup& group = row.groups[column / 32];
        const int64_t product = int64_t{FloatLevel(group.codes[column % 32])} * 65535;
        EXPECT_EQ(out[column], ShiftSaturate32(product, exponent - group.halvings + 16));
      }
      if (exponent == -20) {
        EXPECT_EQ(out[0], (-12 * 65535 + (8 << halvings)) >> (4 + halvings));
      }
    }
  }
}

TEST(Linear, AdapterDeltasAreWeighed) {
  for (const int32_t delta : {0, 1, -1, 12345, kMax32, -kMax32}) {
    EXPECT_EQ(WeighDelta(delta, 1 << 16), delta);
    EXPECT_EQ(WeighDelta(delta, 0), 0);
    EXPECT_EQ(WeighDelta(delta, INT32_MAX),
              static_cast<int64_t>((Wide{delta} * INT32_MAX + 32768) >> 16));
    EXPECT_EQ(WeighDelta(delta, INT32_MIN), -int64_t{delta} * 32768);
  }
  EXPECT_EQ(WeighDelta(3, 1 << 15), 2);
  EXPECT_EQ(WeighDelta(-3, 1 << 15), -1);
}

}  // namespace
}  // namespace etch::numerics
