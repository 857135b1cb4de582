#include "numerics/weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

namespace etch::numerics {
namespace {

using ::testing::HasSubstr;

constexpr std::array kTiled = {WeightFormat::kW3, WeightFormat::kW6, WeightFormat::kW8,
                               WeightFormat::kW4F};

std::vector<int> AllCodes(WeightFormat format) {
  std::vector<int> codes;
  const bool wide = format == WeightFormat::kW8;
  const int end = wide                           ? 128
                  : format == WeightFormat::kW3  ? 8
                  : format == WeightFormat::kW4F ? 16
                                                 : 64;
  for (int code = wide ? -127 : 0; code < end; ++code) {
    codes.push_back(code);
  }
  return codes;
}

// A matrix of one tile.
struct Tile {
  WeightFormat format;
  int64_t cols;
  std::vector<std::byte> bytes;

  Tile(WeightFormat tile_format, int64_t tile_cols)
      : format(tile_format),
        cols(tile_cols),
        bytes(static_cast<size_t>(TileBytes(tile_format, tile_cols))) {}
  WeightView view() const { return {format, kTileRows, cols, bytes.data(), &kDefaultLevels}; }
};

// Each code in each lane and column, alone in a tile of zeros: it comes back, and nothing else
// changes.
TEST(Weights, EveryCodeInEveryPlaceRoundTrips) {
  for (const WeightFormat format : kTiled) {
    Tile tile(format, 64);
    for (int64_t row = 0; row < kTileRows; ++row) {
      for (size_t column = 0; column < kGroup; ++column) {
        for (const int code : AllCodes(format)) {
          std::fill(tile.bytes.begin(), tile.bytes.end(), std::byte{0});
          RowGroup group;
          group.scale = format == WeightFormat::kW3 ? -16 : 0;  // all parameter bits zero
          group.codes[column] = static_cast<int8_t>(code);
          PackGroup(format, tile.cols, tile.bytes, row, 1, group);
          ASSERT_EQ(UnpackGroup(tile.view(), row, 1).codes, group.codes)
              << FormatName(format) << " row " << row << " column " << column;
          const int set =
              static_cast<int>(std::count_if(tile.bytes.begin(), tile.bytes.end(),
                                             [](std::byte byte) { return byte != std::byte{0}; }));
          ASSERT_LE(set, 2);
          const RowGroup other = UnpackGroup(tile.view(), (row + 1) % kTileRows, 1);
          ASSERT_EQ(other.codes, (RowGroup{}.codes));
        }
      }
    }
  }
}

TEST(Weights, EveryParameterInEveryLaneRoundTrips) {
  for (int64_t row = 0; row < kTileRows; ++row) {
    for (int bits = 0; bits < 64; ++bits) {
      Tile w3(WeightFormat::kW3, 96);
      Tile w6(WeightFormat::kW6, 96);
      RowGroup group;
      group.table = static_cast<uint8_t>(bits & 1);
      group.scale = static_cast<int8_t>((bits >> 1) - 16);
      PackGroup(w3.format, w3.cols, w3.bytes, row, 2, group);
      const RowGroup got = UnpackGroup(w3.view(), row, 2);
      ASSERT_EQ(got.scale, group.scale);
      ASSERT_EQ(got.table, group.table);
      group.scale = static_cast<int8_t>(bits);
      PackGroup(w6.format, w6.cols, w6.bytes, row, 2, group);
      ASSERT_EQ(UnpackGroup(w6.view(), row, 2).scale, bits);
      for (int64_t other = 0; other < kTileRows; ++other) {
        if (other != row) {
          ASSERT_EQ(UnpackGroup(w3.view(), other, 2).scale, -16);
          ASSERT_EQ(UnpackGroup(w3.view(), other, 2).table, 0);
          ASSERT_EQ(UnpackGroup(w6.view(), other, 2).scale, 0);
        }
      }
    }
  }
}

TEST(Weights, EveryHalvingInEveryLaneRoundTrips) {
  for (int64_t row = 0; row < kTileRows; ++row) {
    for (int halvings = 0; halvings < 16; ++halvings) {
      Tile tile(WeightFormat::kW4F, 96);
      RowGroup group;
      group.halvings = static_cast<uint8_t>(halvings);
      PackGroup(tile.format, tile.cols, tile.bytes, row, 2, group);
      // Contract §5: byte i of a group's eight holds row i low and row i+8 high.
      const auto at = static_cast<size_t>(kTileHeaderBytes + 2 * 8 + row % 8);
      ASSERT_EQ(std::to_integer<int>(tile.bytes[at]), row < 8 ? halvings : halvings << 4);
      ASSERT_EQ(UnpackGroup(tile.view(), row, 2).halvings, halvings);
      ASSERT_EQ(UnpackGroup(tile.view(), row, 2).scale, 1);
      for (int64_t other = 0; other < kTileRows; ++other) {
        for (int64_t at_group = 0; at_group < 3; ++at_group) {
          if (other != row || at_group != 2) {
            ASSERT_EQ(UnpackGroup(tile.view(), other, at_group).halvings, 0);
          }
        }
      }
    }
  }
}

TEST(Weights, EveryRowScaleFieldRoundTrips) {
  Tile tile(WeightFormat::kW8, 32);
  for (int64_t row = 0; row < kTileRows; ++row) {
    for (int exponent = -128; exponent <= 127; ++exponent) {
      const Scale16 scale = {static_cast<uint16_t>(65535 - 251 * (exponent + 128)),
                             static_cast<int8_t>(exponent)};
      PackRowScale(tile.bytes, row, scale);
      ASSERT_EQ(RowScale(tile.view(), row), scale);
    }
  }
  EXPECT_EQ(tile.bytes[48], std::byte{0});  // the last 16 bytes of the header stay zero
}

// Where the bits lie, by hand (contract §5).
TEST(Weights, LayoutIsAsWritten) {
  const auto offset_of = [](WeightFormat format, int64_t row, size_t column, int code) {
    Tile tile(format, 32);
    RowGroup group;
    group.scale = format == WeightFormat::kW3 ? -16 : 0;
    group.codes[column] = static_cast<int8_t>(code);
    PackGroup(format, 32, tile.bytes, row, 0, group);
    std::vector<std::pair<int64_t, int>> set;  // offset within the codes, byte
    const int64_t codes = kTileHeaderBytes + ParamBytes(format, 32);
    for (size_t index = 0; index < tile.bytes.size(); ++index) {
      if (tile.bytes[index] != std::byte{0}) {
        set.emplace_back(static_cast<int64_t>(index) - codes,
                         std::to_integer<int>(tile.bytes[index]));
      }
    }
    return set;
  };
  using Set = std::vector<std::pair<int64_t, int>>;
  EXPECT_EQ(offset_of(WeightFormat::kW3, 0, 0, 7), (Set{{0, 0x07}}));
  EXPECT_EQ(offset_of(WeightFormat::kW3, 2, 5, 7), (Set{{9, 0x38}}));  // vector 1, lane byte 4·2+1
  EXPECT_EQ(offset_of(WeightFormat::kW3, 15, 23, 7), (Set{{128 + 63, 0x38}}));       // vector 5
  EXPECT_EQ(offset_of(WeightFormat::kW3, 1, 24, 7), (Set{{4, 0xC0}, {132, 0x40}}));  // vector 6
  EXPECT_EQ(offset_of(WeightFormat::kW3, 1, 28, 7), (Set{{68, 0xC0}, {132, 0x80}}));
  EXPECT_EQ(offset_of(WeightFormat::kW6, 0, 0, 63), (Set{{0, 0x0F}, {256, 0x03}}));
  EXPECT_EQ(offset_of(WeightFormat::kW6, 3, 31, 63), (Set{{192 + 15, 0xF0}, {320 + 15, 0xC0}}));
  EXPECT_EQ(offset_of(WeightFormat::kW8, 3, 9, -1), (Set{{128 + 13, 0xFF}}));
  EXPECT_EQ(offset_of(WeightFormat::kW4F, 0, 0, 15), (Set{{0, 0x0F}}));
  EXPECT_EQ(offset_of(WeightFormat::kW4F, 2, 13, 9), (Set{{192 + 9, 0x09}}));    // vector 3
  EXPECT_EQ(offset_of(WeightFormat::kW4F, 15, 31, 8), (Set{{192 + 63, 0x80}}));  // vector 7
  EXPECT_EQ(offset_of(WeightFormat::kW4F, 1, 16, 7), (Set{{4, 0x70}}));          // vector 4
}

RC_GTEST_PROP(WeightsProperty, RandomMatricesRoundTrip, ()) {
  const WeightFormat format = kTiled[*rc::gen::inRange<size_t>(0, kTiled.size())];
  const auto rows = *rc::gen::inRange<int64_t>(1, 40);
  const auto cols = *rc::gen::inRange<int64_t>(1, 200);
  const std::vector<int> all = AllCodes(format);
  std::vector<std::byte> bytes(static_cast<size_t>(WeightBytes(format, rows, cols)));
  const auto tile_bytes = static_cast<size_t>(TileBytes(format, cols));
  uint32_t state = *rc::gen::arbitrary<uint32_t>();
  const auto next = [&state](uint32_t bound) {
    state = state * 1664525 + 1013904223;
    return (state >> 8) % bound;
  };
  std::vector<RowGroup> groups;
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t group = 0; group < GroupCount(cols); ++group) {
      RowGroup values;
      for (int8_t& code : values.codes) {
        code = static_cast<int8_t>(all[next(static_cast<uint32_t>(all.size()))]);
      }
      if (format == WeightFormat::kW3) {
        values.table = static_cast<uint8_t>(next(2));
        values.scale = static_cast<int8_t>(static_cast<int>(next(32)) - 16);
      } else if (format == WeightFormat::kW6) {
        values.scale = static_cast<int8_t>(next(64));
      } else if (format == WeightFormat::kW4F) {
        values.halvings = static_cast<uint8_t>(next(16));
      }
      const size_t tile = static_cast<size_t>(row / kTileRows) * tile_bytes;
      PackGroup(format, cols, std::span(bytes).subspan(tile, tile_bytes), row % kTileRows, group,
                values);
      const auto stored = static_cast<size_t>(StoredColumns(format, cols) - group * kGroup);
      std::fill(values.codes.begin() + std::min(stored, values.codes.size()), values.codes.end(),
                int8_t{0});
      groups.push_back(values);
    }
  }
  const WeightView view = {format, rows, cols, bytes.data(), &kDefaultLevels};
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t group = 0; group < GroupCount(cols); ++group) {
      const RowGroup got = UnpackGroup(view, row, group);
      const RowGroup& want = groups[static_cast<size_t>(row * GroupCount(cols) + group)];
      RC_ASSERT((got.codes == want.codes && got.scale == want.scale && got.table == want.table &&
                 got.halvings == want.halvings));
    }
  }
}

TEST(Weights, Sizes) {
  EXPECT_EQ(TileBytes(WeightFormat::kW3, 4096), 64 + 1536 + 128 * 192);
  EXPECT_EQ(TileBytes(WeightFormat::kW6, 33), 64 + 64 + 2 * 384);
  EXPECT_EQ(TileBytes(WeightFormat::kW8, 32), 64 + 512);
  EXPECT_EQ(TileBytes(WeightFormat::kW8, 16), 64 + 256);
  EXPECT_EQ(TileBytes(WeightFormat::kW8, 17), 64 + 512);
  EXPECT_EQ(TileBytes(WeightFormat::kW8, 33), 64 + 512 + 256);
  EXPECT_EQ(WeightBytes(WeightFormat::kW8, 17, 48), 2 * (64 + 512 + 256) + 256);
  EXPECT_EQ(WeightBytes(WeightFormat::kW8, 17, 64), 2 * (64 + 2 * 512));
  EXPECT_EQ(TileBytes(WeightFormat::kW4F, 32), 64 + 64 + 256);
  EXPECT_EQ(TileBytes(WeightFormat::kW4F, 257), 64 + 128 + 9 * 256);
  EXPECT_EQ(TileBytes(WeightFormat::kW4F, 4096), 64 + 1024 + 128 * 256);
  EXPECT_EQ(WeightBytes(WeightFormat::kW4F, 33, 32), 3 * (64 + 64 + 256));
  EXPECT_EQ(WeightBytes(WeightFormat::kW3, 17, 32), 2 * (64 + 64 + 192));
  EXPECT_EQ(WeightBytes(WeightFormat::kF32, 3, 5), 60);
  EXPECT_EQ(WeightBytes(WeightFormat::kBF16, 3, 5), 30);
  EXPECT_EQ(FormatName(WeightFormat::kW3), "W3");
  EXPECT_EQ(FormatName(WeightFormat::kW6), "W6");
  EXPECT_EQ(FormatName(WeightFormat::kW8), "W8");
  EXPECT_EQ(FormatName(WeightFormat::kW4F), "W4F");
  EXPECT_EQ(FormatName(WeightFormat::kF32), "F32");
  EXPECT_EQ(FormatName(WeightFormat::kF16), "F16");
  EXPECT_EQ(FormatName(WeightFormat::kBF16), "BF16");
}

TEST(Weights, StoredValuesOfFormats) {
  EXPECT_EQ(static_cast<int>(WeightFormat::kW3), 1);
  EXPECT_EQ(static_cast<int>(WeightFormat::kW6), 2);
  EXPECT_EQ(static_cast<int>(WeightFormat::kW8), 3);
  EXPECT_EQ(static_cast<int>(WeightFormat::kW4F), 4);
  EXPECT_EQ(static_cast<int>(WeightFormat::kF32), 16);
  for (const WeightFormat format : kTiled) {
    EXPECT_TRUE(IsTiled(format));
  }
  for (const WeightFormat format : {WeightFormat::kF32, WeightFormat::kF16, WeightFormat::kBF16}) {
    EXPECT_FALSE(IsTiled(format));
  }
}

TEST(Weights, LevelsOutsideTheBoundAreRefused) {
  EXPECT_TRUE(Validate(kDefaultLevels).has_value());
  for (const int level : {32, -32, 127, -128}) {
    LevelTables tables = kDefaultLevels;
    tables.levels[1][7] = static_cast<int8_t>(level);
    const Status status = Validate(tables);
    ASSERT_FALSE(status.has_value());
    EXPECT_THAT(status.error().message, HasSubstr(std::to_string(level)));
  }
}

TEST(Weights, LevelsOfEveryFormat) {
  RowGroup group;
  group.codes[0] = 7;
  group.table = 1;
  const WeightView w3 = {WeightFormat::kW3, 1, 32, nullptr, &kDefaultLevels};
  EXPECT_EQ(Levels(w3, group)[0], 26);
  EXPECT_EQ(Levels(w3, group)[1], -29);
  EXPECT_EQ(Levels({WeightFormat::kW6, 1, 32, nullptr, nullptr}, group)[0], 7 - 32);
  EXPECT_EQ(Levels({WeightFormat::kW8, 1, 32, nullptr, nullptr}, group)[0], 7);
}

// The definition of E2M1: a sign, two bits of exponent with bias 1, one of mantissa, subnormals.
double FloatOfCode(int code) {
  const int exponent = (code >> 1) & 3;
  const double mantissa = (code & 1) / 2.0;
  const double magnitude = exponent == 0 ? mantissa : std::ldexp(1.0 + mantissa, exponent - 1);
  return code >= 8 ? -magnitude : magnitude;
}

// Every code under every halving, in every row of the tile.
TEST(Weights, EveryFloatCodeUnderEveryHalving) {
  for (int64_t row = 0; row < kTileRows; ++row) {
    Tile tile(WeightFormat::kW4F, 16 * kGroup);
    const Scale16 row_scale = {static_cast<uint16_t>(40000 + row), -20};
    PackRowScale(tile.bytes, row, row_scale);
    for (int halvings = 0; halvings < 16; ++halvings) {
      RowGroup group;
      group.halvings = static_cast<uint8_t>(halvings);
      for (size_t column = 0; column < kGroup; ++column) {
        group.codes[column] = static_cast<int8_t>(column % 16);
      }
      PackGroup(tile.format, tile.cols, tile.bytes, row, halvings, group);
      const auto levels = Levels(tile.view(), UnpackGroup(tile.view(), row, halvings));
      for (size_t column = 0; column < kGroup; ++column) {
        ASSERT_EQ(levels[column], 2.0 * FloatOfCode(static_cast<int>(column % 16)));
      }
    }
    std::vector<float> out(static_cast<size_t>(tile.cols));
    DequantizeRow(tile.view(), row, out);
    for (size_t column = 0; column < out.size(); ++column) {
      const int halvings = static_cast<int>(column / 32);
      const double value = 2.0 * FloatOfCode(static_cast<int>(column % 16));
      ASSERT_EQ(out[column],
                static_cast<float>(value *
                                   std::ldexp(40000.0 + static_cast<double>(row), -20 - halvings)));
    }
  }
}

TEST(Weights, DequantizesTiles) {
  for (const WeightFormat format : kTiled) {
    Tile tile(format, 40);
    const Scale16 row_scale = {40000, -20};
    PackRowScale(tile.bytes, 5, row_scale);
    RowGroup group;
    group.scale = format == WeightFormat::kW3 || format == WeightFormat::kW6 ? 9 : 1;
    group.codes.fill(3);
    PackGroup(format, 40, tile.bytes, 5, 0, group);
    PackGroup(format, 40, tile.bytes, 5, 1, group);
    const int level = format == WeightFormat::kW3   ? -6 * 9
                      : format == WeightFormat::kW6 ? -29 * 9
                                                    : 3;
    std::vector<float> out(40);
    DequantizeRow(tile.view(), 5, out);
    for (const float value : out) {
      EXPECT_EQ(value, static_cast<float>(level * std::ldexp(40000.0, -20))) << FormatName(format);
    }
  }
}

// All 65,536 codes of the 16-bit formats, against the definition of IEEE 754 binary16.
TEST(Weights, DequantizesEveryHalf) {
  std::vector<uint16_t> bits(65536);
  for (size_t index = 0; index < bits.size(); ++index) {
    bits[index] = static_cast<uint16_t>(index);
  }
  const auto* data = reinterpret_cast<const std::byte*>(bits.data());
  std::vector<float> half(bits.size());
  std::vector<float> bfloat(bits.size());
  DequantizeRow({WeightFormat::kF16, 1, 65536, data, nullptr}, 0, half);
  DequantizeRow({WeightFormat::kBF16, 1, 65536, data, nullptr}, 0, bfloat);
  for (size_t index = 0; index < bits.size(); ++index) {
    const int exponent = (bits[index] >> 10) & 31;
    const int fraction = bits[index] & 1023;
    const float sign = bits[index] >> 15 != 0 ? -1.0F : 1.0F;
    if (exponent == 31) {
      EXPECT_EQ(std::isnan(half[index]), fraction != 0);
      EXPECT_EQ(std::isinf(half[index]), fraction == 0);
      EXPECT_EQ(std::signbit(half[index]), sign < 0);
    } else {
      const float want = exponent == 0
                             ? std::ldexp(static_cast<float>(fraction), -24)
                             : std::ldexp(static_cast<float>(1024 + fraction), exponent - 25);
      ASSERT_EQ(half[index], sign * want) << index;
      ASSERT_EQ(std::signbit(half[index]), sign < 0) << index;
    }
    const uint32_t wide = static_cast<uint32_t>(index) << 16;
    ASSERT_EQ(std::memcmp(&bfloat[index], &wide, 4), 0) << index;
  }
}

TEST(Weights, DequantizesPlainRows) {
  const std::vector<float> values = {1.5F, -2.0F, 3.25F, 4.0F};
  std::vector<float> out(2);
  DequantizeRow(
      {WeightFormat::kF32, 2, 2, reinterpret_cast<const std::byte*>(values.data()), nullptr}, 1,
      out);
  EXPECT_EQ(out, (std::vector<float>{3.25F, 4.0F}));
}

}  // namespace
}  // namespace etch::numerics
