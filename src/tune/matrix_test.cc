#include "tune/matrix.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "engine/random_model_test.h"
#include "tune/base_matrix.h"

namespace etch::tune {
namespace {

std::vector<float> Random(int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) {
    value = std::normal_distribution<float>()(random);
  }
  return values;
}

TEST(Matrix, ProductsForEveryOrientationAndOddSizes) {
  ThreadPool pool(2);
  for (const auto& [rows, cols, inner] :
       {std::array<int64_t, 3>{1, 1, 1}, {3, 5, 7}, {257, 300, 33}, {40, 520, 16}}) {
    for (const bool a_transposed : {false, true}) {
      for (const bool b_transposed : {false, true}) {
        const std::vector<float> a = Random(rows * inner, 1);
        const std::vector<float> b = Random(inner * cols, 2);
        std::vector<float> c = Random(rows * cols, 3);
        const std::vector<float> before = c;
        Multiply(pool, rows, cols, inner, 0.5F,
                 {a.data(), a_transposed ? rows : inner, a_transposed},
                 {b.data(), b_transposed ? inner : cols, b_transposed}, 2.0F, {c.data(), cols});
        for (int64_t row = 0; row < rows; row += 13) {
          for (int64_t col = 0; col < cols; col += 7) {
            double sum = 0.0;
            for (int64_t index = 0; index < inner; ++index) {
              const int64_t at = a_transposed ? index * rows + row : row * inner + index;
              const int64_t bt = b_transposed ? col * inner + index : index * cols + col;
              sum += static_cast<double>(a[static_cast<size_t>(at)]) *
                     static_cast<double>(b[static_cast<size_t>(bt)]);
            }
            const auto place = static_cast<size_t>(row * cols + col);
            const double expected = 0.5 * sum + 2.0 * static_cast<double>(before[place]);
            EXPECT_NEAR(c[place], expected, 1e-5 * std::sqrt(static_cast<double>(inner)) * 4.0);
          }
        }
      }
    }
  }
}

TEST(Matrix, BitsDoNotDependOnTheThreads) {
  const std::vector<float> a = Random(600 * 300, 4);
  const std::vector<float> b = Random(300 * 700, 5);
  std::vector<std::vector<float>> results;
  for (const int threads : {1, 2, 3}) {
    ThreadPool pool(threads);
    std::vector<float> c(600 * 700);
    Multiply(pool, 600, 700, 300, 1.0F, {a.data(), 300, false}, {b.data(), 700, false}, 0.0F,
             {c.data(), 700});
    results.push_back(std::move(c));
  }
  EXPECT_EQ(results[0], results[1]);
  EXPECT_EQ(results[0], results[2]);
}

TEST(BaseProducts, PackedMatricesUnpackToWhatTheTwinReads) {
  ThreadPool pool(2);
  std::mt19937 random(6);
  for (const numerics::WeightFormat format :
       {numerics::WeightFormat::kW3, numerics::WeightFormat::kW6, numerics::WeightFormat::kW4F}) {
    constexpr int64_t kRows = 37;
    constexpr int64_t kCols = 75;
    const std::vector<std::byte> data =
        engine::test::RandomWeights(format, kRows, kCols, 0.01, random);
    const numerics::WeightView view{format, kRows, kCols, data.data(), &numerics::kDefaultLevels};
    std::vector<float> unpacked(kRows * kCols);
    UnpackRows(pool, view, 0, kRows, unpacked.data());
    for (int64_t row = 0; row < kRows; ++row) {
      std::vector<float> expected(kCols);
      numerics::DequantizeRow(view, row, expected);
      for (int64_t col = 0; col < kCols; ++col) {
        ASSERT_EQ(unpacked[static_cast<size_t>(row * kCols + col)],
                  expected[static_cast<size_t>(col)])
            << row << ' ' << col;
      }
    }
    // Packed and float give the same products.
    const std::vector<float> x = Random(4 * kCols, 7);
    const std::vector<float> dy = Random(4 * kRows, 8);
    BaseProducts products(pool);
    std::vector<float> packed_y(4 * kRows);
    std::vector<float> float_y(4 * kRows);
    std::vector<float> packed_dx(4 * kCols, 1.0F);
    std::vector<float> float_dx(4 * kCols, 1.0F);
    const BaseMatrix packed{kRows, kCols, nullptr, view};
    const BaseMatrix plain{kRows, kCols, unpacked.data(), {}};
    products.Forward(packed, 4, x.data(), packed_y.data());
    products.Forward(plain, 4, x.data(), float_y.data());
    products.Backward(packed, 4, dy.data(), 1.0F, packed_dx.data());
    products.Backward(plain, 4, dy.data(), 1.0F, float_dx.data());
    EXPECT_EQ(packed_y, float_y);
    EXPECT_EQ(packed_dx, float_dx);
  }
}

}  // namespace
}  // namespace etch::tune
