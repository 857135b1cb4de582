#include "export/encode.h"

#include <gtest/gtest.h>

#include <cmath>

#include "engine/random_model_test.h"
#include "export/tiny_vocabulary_test.h"
#include "formats/dequantize.h"

namespace etch::exporting {
namespace {

using numerics::WeightFormat;
using testing::ErrorOf;

std::vector<std::byte> Encoded(DataType type, std::span<const float> row) {
  std::vector<std::byte> bytes(formats::DataSize(type, row.size(), "row").value());
  EXPECT_EQ(ErrorOf(EncodeRow(type, row, bytes)), "");
  return bytes;
}

std::vector<float> Decoded(DataType type, std::span<const std::byte> bytes, size_t count) {
  std::vector<float> values(count);
  EXPECT_TRUE(formats::Dequantize(type, bytes, values));
  return values;
}

// Values of every size from 2^-40 to 2^10, of both signs.
std::vector<float> Values(uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<float> values(256);
  for (size_t index = 0; index < values.size(); ++index) {
    const int exponent = static_cast<int>(index / 32) * 7 - 40 + static_cast<int>(random() % 3);
    values[index] = std::ldexp(static_cast<float>(random() % 65537) / 32768.0F - 1.0F, exponent);
  }
  return values;
}

TEST(Encode, TypesAreKnownByName) {
  EXPECT_EQ(ParseExportType("q8_0").value(), DataType::kQ8_0);
  EXPECT_EQ(ParseExportType("f16").value(), DataType::kF16);
  EXPECT_EQ(ParseExportType("bf16").value(), DataType::kBf16);
  EXPECT_EQ(ParseExportType("f32").value(), DataType::kF32);
  EXPECT_EQ(ErrorOf(ParseExportType("q3_k")),
            "invalid_argument: no export type \"q3_k\"; there are f32, f16, bf16, q8_0");
  EXPECT_EQ(TypeForRows(DataType::kQ8_0, 172), DataType::kF16);
  EXPECT_EQ(TypeForRows(DataType::kQ8_0, 64), DataType::kQ8_0);
  EXPECT_EQ(TypeForRows(DataType::kF32, 172), DataType::kF32);
}

TEST(Encode, RoundingStaysWithinItsBounds) {
  for (const DataType type : {DataType::kF32, DataType::kF16, DataType::kBf16, DataType::kQ8_0}) {
    for (uint32_t seed = 0; seed < 20; ++seed) {
      const std::vector<float> values = Values(seed);
      const std::vector<float> found = Decoded(type, Encoded(type, values), values.size());
      std::vector<float> bounds(values.size());
      RoundingBounds(type, values, bounds);
      for (size_t index = 0; index < values.size(); ++index) {
        EXPECT_LE(std::abs(found[index] - values[index]), bounds[index])
            << formats::Traits(type).name << " " << values[index];
      }
    }
  }
}

TEST(Encode, ValuesBeyondTheTypeAreRefused) {
  std::vector<float> row(32, 1.0F);
  row[5] = 70000.0F;
  std::vector<std::byte> bytes(128);
  EXPECT_EQ(ErrorOf(EncodeRow(DataType::kF16, row, std::span(bytes).first(64))),
            "unsupported: the value 70000 is beyond F16; choose a wider type");
  EXPECT_EQ(ErrorOf(EncodeRow(DataType::kQ8_0, row, std::span(bytes).first(34))), "");
  row[5] = 1e7F;
  EXPECT_EQ(ErrorOf(EncodeRow(DataType::kQ8_0, row, std::span(bytes).first(34))),
            "unsupported: the value 10000000 is beyond Q8_0; choose a wider type");
  row[5] = NAN;
  EXPECT_EQ(ErrorOf(EncodeRow(DataType::kF32, row, bytes)),
            "unsupported: the value nan is beyond F32; choose a wider type");
}

// Q8_0 from levels is as close as F16: half a unit of eleven bits of each weight.
TEST(Encode, LevelsBecomeCodesOfQ8) {
  constexpr int64_t kRows = 20;
  constexpr int64_t kCols = 96;
  std::mt19937 random(3);
  for (const WeightFormat format : {WeightFormat::kW3, WeightFormat::kW6, WeightFormat::kW4F}) {
    const auto data = engine::test::RandomWeights(format, kRows, kCols, 0.002, random);
    const numerics::WeightView view = {format, kRows, kCols, data.data(),
                                       &numerics::kDefaultLevels};
    double levels_error = 0.0;
    double values_error = 0.0;
    for (int64_t row = 0; row < kRows; ++row) {
      std::vector<float> values(kCols);
      numerics::DequantizeRow(view, row, values);
      std::vector<std::byte> bytes(kCols / 32 * 34);
      ASSERT_EQ(ErrorOf(EncodeTiledRow(view, row, values, bytes)), "");
      const auto found = Decoded(DataType::kQ8_0, bytes, kCols);
      const auto rounded = Decoded(DataType::kQ8_0, Encoded(DataType::kQ8_0, values), kCols);
      for (size_t col = 0; col < values.size(); ++col) {
        const float size = std::abs(values[col]);
        if (format != WeightFormat::kW4F) {  // whose steps reach below binary16's normal numbers
          EXPECT_LE(std::abs(found[col] - values[col]), size * 0x1p-11F) << values[col];
        }
        levels_error += std::pow(static_cast<double>(found[col] - values[col]), 2);
        values_error += std::pow(static_cast<double>(rounded[col] - values[col]), 2);
      }
    }
    EXPECT_LT(levels_error, values_error / 100) << numerics::FormatName(format);
  }
}

}  // namespace
}  // namespace etch::exporting
