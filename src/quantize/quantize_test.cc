#include "quantize/quantize.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "quantize/row_search.h"

namespace etch::quantize {
namespace {

using numerics::kDefaultLevels;
using numerics::WeightFormat;

constexpr std::array<WeightFormat, 3> kFormats = {WeightFormat::kW3, WeightFormat::kW6,
                                                  WeightFormat::kW4F};

std::vector<float> Gaussian(int64_t count, uint32_t seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) {
    value = normal(generator);
  }
  return values;
}

std::vector<float> Dequantize(const QuantizedMatrix& matrix, model::Shape shape,
                              WeightFormat format) {
  const numerics::WeightView view{format, shape.rows, shape.cols, matrix.data.data(),
                                  &kDefaultLevels};
  std::vector<float> values(static_cast<size_t>(shape.size()));
  for (int64_t row = 0; row < shape.rows; ++row) {
    numerics::DequantizeRow(view, row,
                            std::span(values).subspan(static_cast<size_t>(row * shape.cols),
                                                      static_cast<size_t>(shape.cols)));
  }
  return values;
}

QuantizedMatrix Quantize(std::span<const float> weights, model::Shape shape, WeightFormat format,
                         std::span<const float> importance = {}, int threads = 1) {
  ThreadPool pool(threads);
  return QuantizeMatrix(weights, shape, format, importance, kDefaultLevels, pool);
}

double SquaredDifference(std::span<const float> a, std::span<const float> b) {
  double sum = 0.0;
  for (size_t index = 0; index < a.size(); ++index) {
    const double difference = static_cast<double>(a[index]) - static_cast<double>(b[index]);
    sum += difference * difference;
  }
  return sum;
}

// The least error of a W3 group under one step, over both tables.
double BestGroup(std::span<const float> group, double scale) {
  double best = INFINITY;
  for (const auto& table : kDefaultLevels.levels) {
    for (int place = -16; place <= 15; ++place) {
      double error = 0.0;
      for (const float value : group) {
        double nearest = INFINITY;
        for (const int8_t level : table) {
          nearest = std::min(nearest, std::abs(static_cast<double>(value) - level * place * scale));
        }
        error += nearest * nearest;
      }
      best = std::min(best, error);
    }
  }
  return best;
}

// The least error of a row over a dense grid of row scales: what no search can beat by much.
double BruteForce(std::span<const float> row) {
  double best = INFINITY;
  for (double scale = 0.0025; scale < 0.02; scale *= 1.01) {
    double error = 0.0;
    for (size_t start = 0; start < row.size(); start += 32) {
      error += BestGroup(row.subspan(start, 32), scale);
    }
    best = std::min(best, error);
  }
  return best;
}

// The least error of a W4F group under a row scale, over all halvings and codes.
double BestFloatGroup(std::span<const float> group, double scale) {
  double best = INFINITY;
  for (int halvings = 0; halvings <= 15; ++halvings) {
    double error = 0.0;
    for (const float value : group) {
      double nearest = INFINITY;
      for (const int8_t level : numerics::kFloatLevels) {
        nearest = std::min(
            nearest, std::abs(static_cast<double>(value) - std::ldexp(level * scale, -halvings)));
      }
      error += nearest * nearest;
    }
    best = std::min(best, error);
  }
  return best;
}

// The least error of a row whose largest weight is 2 to 5, over a dense grid of row scales. Twice a
// scale halved once more is the same, so an octave is all.
double BruteForceFloats(std::span<const float> row) {
  double best = INFINITY;
  for (double scale = 0.45; scale < 0.91; scale *= 1.01) {
    double error = 0.0;
    for (size_t start = 0; start < row.size(); start += 32) {
      error += BestFloatGroup(row.subspan(start, 32), scale);
    }
    best = std::min(best, error);
  }
  return best;
}

TEST(QuantizeTest, ComesNearBruteForce) {
  double found = 0.0;
  double best = 0.0;
  for (uint32_t seed = 0; seed < 12; ++seed) {
    const std::vector<float> row = Gaussian(64, seed);
    const double error = Quantize(row, {1, 64}, WeightFormat::kW3).error;
    const double reference = BruteForce(row);
    EXPECT_LT(error, 1.25 * reference) << "seed " << seed;
    found += error;
    best += reference;
  }
  EXPECT_LT(found, 1.08 * best);
}

TEST(QuantizeTest, FloatsComeNearBruteForce) {
  double found = 0.0;
  double best = 0.0;
  for (uint32_t seed = 0; seed < 8; ++seed) {
    std::vector<float> row = Gaussian(128, seed);
    for (size_t col = 0; col < row.size(); ++col) {
      row[col] *= col < 64 ? 1.0F : 0.11F;  // groups that need halvings
    }
    const double error = Quantize(row, {1, 128}, WeightFormat::kW4F).error;
    const double reference = BruteForceFloats(row);
    EXPECT_LT(error, 1.1 * reference) << "seed " << seed;
    found += error;
    best += reference;
  }
  EXPECT_LT(found, 1.03 * best);
}

TEST(QuantizeTest, GaussianErrorsAreWhatTheFormatsAllow) {
  const model::Shape shape = {32, 1024};
  const std::vector<float> weights = Gaussian(shape.size(), 1);
  const QuantizedMatrix w3 = Quantize(weights, shape, WeightFormat::kW3);
  const QuantizedMatrix w6 = Quantize(weights, shape, WeightFormat::kW6);
  EXPECT_LT(RelativeError(w3.error, w3.energy), 0.0225);
  EXPECT_LT(RelativeError(w6.error, w6.energy), 0.0005);
  const QuantizedMatrix floats = Quantize(weights, shape, WeightFormat::kW4F);
  EXPECT_LT(RelativeError(floats.error, floats.energy), 0.0120);
}

TEST(QuantizeTest, ReportsTheErrorOfWhatItPacked) {
  const model::Shape shape = {21, 172};  // neither whole tiles nor whole groups
  const std::vector<float> weights = Gaussian(shape.size(), 2);
  for (const WeightFormat format : kFormats) {
    const QuantizedMatrix matrix = Quantize(weights, shape, format);
    ASSERT_EQ(static_cast<int64_t>(matrix.data.size()),
              numerics::WeightBytes(format, shape.rows, shape.cols));
    const double error = SquaredDifference(weights, Dequantize(matrix, shape, format));
    EXPECT_NEAR(matrix.error / error, 1.0, 1e-4);
    EXPECT_NEAR(matrix.energy / SquaredDifference(weights, std::vector<float>(weights.size())), 1.0,
                1e-4);
  }
}

TEST(QuantizeTest, ScalingByAPowerOfTwoChangesOnlyTheExponents) {
  const model::Shape shape = {3, 96};
  const std::vector<float> weights = Gaussian(shape.size(), 3);
  for (const int exponent : {-100, -7, 9, 90}) {
    std::vector<float> scaled = weights;
    for (float& value : scaled) {
      value = std::ldexp(value, exponent);
    }
    for (const WeightFormat format : kFormats) {
      std::vector<float> expected = Dequantize(Quantize(weights, shape, format), shape, format);
      for (float& value : expected) {
        value = std::ldexp(value, exponent);
      }
      EXPECT_EQ(Dequantize(Quantize(scaled, shape, format), shape, format), expected) << exponent;
    }
  }
}

TEST(QuantizeTest, RowsAreIndependentAndPartsJoin) {
  const model::Shape shape = {40, 64};
  const std::vector<float> weights = Gaussian(shape.size(), 4);
  for (const WeightFormat format : kFormats) {
    const QuantizedMatrix whole = Quantize(weights, shape, format);
    const QuantizedMatrix first = Quantize(std::span(weights).first(16 * 64), {16, 64}, format);
    QuantizedMatrix joined = first;
    const QuantizedMatrix rest = Quantize(std::span(weights).subspan(16 * 64), {24, 64}, format);
    joined.data.insert(joined.data.end(), rest.data.begin(), rest.data.end());
    EXPECT_EQ(joined.data, whole.data);
    EXPECT_NEAR(first.error + rest.error, whole.error, 1e-9 * whole.error);
  }
}

TEST(QuantizeTest, ThreadsDoNotChangeABit) {
  const model::Shape shape = {300, 96};
  const std::vector<float> weights = Gaussian(shape.size(), 5);
  for (const WeightFormat format : kFormats) {
    const QuantizedMatrix one = Quantize(weights, shape, format, {}, 1);
    const QuantizedMatrix three = Quantize(weights, shape, format, {}, 3);
    EXPECT_EQ(one.data, three.data);
    EXPECT_EQ(one.error, three.error);
    EXPECT_EQ(one.energy, three.energy);
  }
}

TEST(QuantizeTest, ZerosStayZero) {
  const model::Shape shape = {18, 40};
  std::vector<float> weights(static_cast<size_t>(shape.size()), 0.0F);
  for (const WeightFormat format : kFormats) {
    const QuantizedMatrix matrix = Quantize(weights, shape, format);
    EXPECT_EQ(Dequantize(matrix, shape, format), weights);
    EXPECT_EQ(RelativeError(matrix.error, matrix.energy), 0.0);
  }
  // A zero row and a zero group among others.
  weights = Gaussian(shape.size(), 6);
  std::fill(weights.begin() + 40, weights.begin() + 80, 0.0F);
  std::fill(weights.begin(), weights.begin() + 32, 0.0F);
  for (const WeightFormat format : kFormats) {
    const std::vector<float> values = Dequantize(Quantize(weights, shape, format), shape, format);
    EXPECT_THAT(std::span(values).subspan(40, 40), testing::Each(0.0F));
    EXPECT_THAT(std::span(values).first(32), testing::Each(0.0F));
    EXPECT_NE(values[39], 0.0F);
  }
}

TEST(QuantizeTest, AHugeOutlierCostsItsRowOnly) {
  const model::Shape shape = {2, 128};
  std::vector<float> weights = Gaussian(shape.size(), 7);
  weights[5] = 1e6F;
  for (const WeightFormat format : kFormats) {
    const std::vector<float> values = Dequantize(Quantize(weights, shape, format), shape, format);
    EXPECT_NEAR(values[5] / weights[5], 1.0F, 1e-3F);
    for (const float value : values) {
      EXPECT_TRUE(std::isfinite(value));
    }
    const auto second = std::span<const float>(weights).subspan(128);
    EXPECT_LT(SquaredDifference(second, std::span(values).subspan(128)), 0.04 * 128);
  }
}

TEST(QuantizeTest, TheSmallestAndLargestFloatsAreTaken) {
  const model::Shape shape = {2, 32};
  std::vector<float> weights = Gaussian(shape.size(), 8);
  for (size_t col = 0; col < 32; ++col) {
    weights[col] *= 1e-40F;
    weights[32 + col] *= 1e37F;
  }
  for (const WeightFormat format : kFormats) {
    const QuantizedMatrix matrix = Quantize(weights, shape, format);
    const std::vector<float> values = Dequantize(matrix, shape, format);
    // Below the range of row scales a row is zero.
    EXPECT_THAT(std::span(values).first(32), testing::Each(0.0F));
    EXPECT_LT(RelativeError(matrix.error, matrix.energy), 0.03);
    EXPECT_TRUE(std::isfinite(matrix.energy));
  }
}

TEST(QuantizeTest, ImportanceMovesTheErrorAway) {
  const model::Shape shape = {64, 128};
  const std::vector<float> weights = Gaussian(shape.size(), 9);
  std::vector<float> importance(128, 1.0F);
  for (size_t col = 0; col < importance.size(); col += 8) {
    importance[col] = 100.0F;
  }
  const auto error_of_important = [&](std::span<const float> values) {
    double sum = 0.0;
    for (size_t index = 0; index < values.size(); index += 8) {
      sum += std::pow(static_cast<double>(values[index]) - static_cast<double>(weights[index]), 2);
    }
    return sum;
  };
  for (const WeightFormat format : kFormats) {
    const QuantizedMatrix flat = Quantize(weights, shape, format);
    const QuantizedMatrix weighted = Quantize(weights, shape, format, importance);
    EXPECT_LT(error_of_important(Dequantize(weighted, shape, format)),
              0.75 * error_of_important(Dequantize(flat, shape, format)));
    EXPECT_LT(RelativeError(weighted.error, weighted.energy),
              RelativeError(flat.error, flat.energy));
  }
}

TEST(QuantizeTest, OnlyRatiosOfImportanceCount) {
  const model::Shape shape = {4, 64};
  const std::vector<float> weights = Gaussian(shape.size(), 10);
  const std::vector<std::byte> flat = Quantize(weights, shape, WeightFormat::kW3).data;
  EXPECT_EQ(Quantize(weights, shape, WeightFormat::kW3, std::vector<float>(64, 0.0F)).data, flat);
  std::vector<float> importance = Gaussian(64, 11);
  for (float& value : importance) {
    value = value * value;
  }
  std::vector<float> scaled = importance;
  for (float& value : scaled) {
    value = std::ldexp(value, 40);
  }
  EXPECT_EQ(Quantize(weights, shape, WeightFormat::kW3, importance).data,
            Quantize(weights, shape, WeightFormat::kW3, scaled).data);
}

TEST(QuantizeTest, ChannelsWithoutImportanceKeepTheirWeights) {
  const model::Shape shape = {8, 64};
  const std::vector<float> weights = Gaussian(shape.size(), 12);
  std::vector<float> importance(64, 1.0F);
  std::fill(importance.begin() + 32, importance.end(), 0.0F);  // a whole group
  const std::vector<float> values =
      Dequantize(Quantize(weights, shape, WeightFormat::kW3, importance), shape, WeightFormat::kW3);
  EXPECT_LT(SquaredDifference(weights, values), 0.05 * 8 * 64);
}

TEST(QuantizeTest, AnyOrderOfLevelsWorks) {
  numerics::LevelTables shuffled = kDefaultLevels;
  for (auto& table : shuffled.levels) {
    std::swap(table[0], table[6]);
    std::swap(table[2], table[3]);
  }
  const model::Shape shape = {5, 64};
  const std::vector<float> weights = Gaussian(shape.size(), 13);
  ThreadPool pool(1);
  const QuantizedMatrix matrix =
      QuantizeMatrix(weights, shape, WeightFormat::kW3, {}, shuffled, pool);
  const numerics::WeightView view{WeightFormat::kW3, 5, 64, matrix.data.data(), &shuffled};
  const std::vector<float> expected =
      Dequantize(Quantize(weights, shape, WeightFormat::kW3), shape, WeightFormat::kW3);
  std::vector<float> row(64);
  numerics::DequantizeRow(view, 3, row);
  EXPECT_THAT(row, testing::ElementsAreArray(std::span(expected).subspan(3 * 64, 64)));
}

TEST(EstimateErrorTest, AllRowsGiveTheErrorOfTheMatrix) {
  const model::Shape shape = {33, 96};
  const std::vector<float> weights = Gaussian(shape.size(), 14);
  for (const WeightFormat format : kFormats) {
    const QuantizedMatrix matrix = Quantize(weights, shape, format);
    EXPECT_NEAR(EstimateError(weights, shape, format, {}, kDefaultLevels, 100) /
                    RelativeError(matrix.error, matrix.energy),
                1.0, 1e-9);
  }
}

TEST(EstimateErrorTest, SamplesEvenlySpacedRows) {
  // Rows 2 and 7 of ten stand for the matrix; they alone are easy.
  const model::Shape shape = {10, 32};
  std::vector<float> weights = Gaussian(shape.size(), 15);
  for (const size_t row : {2U, 7U}) {
    std::fill_n(weights.begin() + static_cast<ptrdiff_t>(row * 32), 32, 1.0F);
  }
  EXPECT_LT(EstimateError(weights, shape, WeightFormat::kW3, {}, kDefaultLevels, 2), 1e-6);
  EXPECT_GT(EstimateError(weights, shape, WeightFormat::kW3, {}, kDefaultLevels, 10), 1e-3);
}

TEST(RowSearchTest, CodesStayInTheirRanges) {
  for (const WeightFormat format : kFormats) {
    RowSearch search(format, kDefaultLevels, 256, {});
    for (uint32_t seed = 0; seed < 20; ++seed) {
      std::vector<float> row = Gaussian(256, seed);
      for (size_t col = 0; col < row.size(); ++col) {
        row[col] *= std::exp(3.0F * std::sin(static_cast<float>(col / 32 * seed)));
      }
      for (const numerics::RowGroup& group : search.Quantize(row).groups) {
        const bool is_w3 = format == WeightFormat::kW3;
        const bool is_float = format == WeightFormat::kW4F;
        EXPECT_GE(group.scale, is_w3 ? -16 : is_float ? 1 : 0);
        EXPECT_LE(group.scale, is_w3 ? 15 : is_float ? 1 : 63);
        EXPECT_LE(group.halvings, is_float ? 15 : 0);
        EXPECT_THAT(group.codes,
                    testing::Each(testing::AllOf(testing::Ge(0), testing::Le(is_w3      ? 7
                                                                             : is_float ? 15
                                                                                        : 63))));
        // Zero has one code, so that the same weights give the same bytes everywhere.
        EXPECT_TRUE(!is_float || !std::ranges::count(group.codes, 8));
      }
    }
  }
}

}  // namespace
}  // namespace etch::quantize
