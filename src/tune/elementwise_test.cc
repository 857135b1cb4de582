#include "tune/elementwise.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

namespace etch::tune {
namespace {

std::vector<float> Random(size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<float> values(count);
  for (float& value : values) {
    value = std::normal_distribution<float>()(random);
  }
  return values;
}

TEST(Elementwise, ExpIsTheExponential) {
  for (double x = -86.9; x < 87.9; x += 0.0137) {
    const auto value = static_cast<float>(x);
    const double exact = std::exp(static_cast<double>(value));
    EXPECT_NEAR(Exp(value), exact, exact * 4e-7) << x;
  }
  EXPECT_EQ(Exp(0.0F), 1.0F);
  EXPECT_EQ(Exp(-1000.0F), 0.0F);
  EXPECT_EQ(Exp(-INFINITY), 0.0F);
  EXPECT_TRUE(std::isfinite(Exp(1000.0F)));
}

TEST(Elementwise, RotateTurnsPairsAndBack) {
  const std::vector<float> angles = {std::cos(0.5F), std::sin(0.5F), 0.0F, 1.0F};
  std::vector<float> row = {1, 0, 2, 3, 0, 1, 4, 5};  // two heads of four
  const std::vector<float> before = row;
  Rotate(angles, 4, false, row);
  EXPECT_FLOAT_EQ(row[0], std::cos(0.5F));
  EXPECT_FLOAT_EQ(row[1], std::sin(0.5F));
  EXPECT_FLOAT_EQ(row[2], -3.0F);  // a quarter turn
  EXPECT_FLOAT_EQ(row[3], 2.0F);
  EXPECT_FLOAT_EQ(row[4], -std::sin(0.5F));
  Rotate(angles, 4, true, row);
  for (size_t index = 0; index < row.size(); ++index) {
    EXPECT_NEAR(row[index], before[index], 1e-6);
  }
}

// The derivative of f along each input, by central differences.
template <class Function>
void ExpectGradient(std::vector<float>& x, const std::vector<float>& gradient, const Function& f) {
  constexpr float kStep = 1e-2F;
  for (size_t index = 0; index < x.size(); ++index) {
    const float before = x[index];
    x[index] = before + kStep;
    const double above = f();
    x[index] = before - kStep;
    const double below = f();
    x[index] = before;
    EXPECT_NEAR(gradient[index], (above - below) / (2.0 * static_cast<double>(kStep)), 2e-3)
        << index;
  }
}

TEST(Elementwise, RmsNormAndItsGradient) {
  std::vector<float> x = Random(19, 1);
  std::vector<float> gains = Random(19, 2);
  const std::vector<float> weights = Random(19, 3);  // the loss is Σ weights · y
  std::vector<float> y(x.size());
  const auto loss = [&] {
    RmsNorm(x, gains, 1e-5, y);
    double sum = 0.0;
    for (size_t index = 0; index < y.size(); ++index) {
      sum += static_cast<double>(weights[index]) * static_cast<double>(y[index]);
    }
    return sum;
  };
  const float inverse = RmsNorm(x, gains, 1e-5, y);
  double squares = 0.0;
  for (const float value : x) {
    squares += static_cast<double>(value) * static_cast<double>(value);
  }
  EXPECT_NEAR(inverse, 1.0 / std::sqrt(squares / 19.0 + 1e-5), 1e-6);
  EXPECT_NEAR(y[4], x[4] * inverse * gains[4], 1e-6);
  std::vector<float> dx(x.size());
  std::vector<float> d_gains(x.size());
  RmsNormBackward(x, gains, inverse, weights, dx, d_gains);
  ExpectGradient(x, dx, loss);
  ExpectGradient(gains, d_gains, loss);
}

TEST(Elementwise, SwiGluAndItsGradient) {
  std::vector<float> gate = Random(33, 4);
  std::vector<float> up = Random(33, 5);
  const std::vector<float> weights = Random(33, 6);
  std::vector<float> h(gate.size());
  const auto loss = [&] {
    SwiGlu(gate, up, h);
    double sum = 0.0;
    for (size_t index = 0; index < h.size(); ++index) {
      sum += static_cast<double>(weights[index]) * static_cast<double>(h[index]);
    }
    return sum;
  };
  loss();
  EXPECT_NEAR(h[7], gate[7] / (1.0F + std::exp(-gate[7])) * up[7], 1e-6);
  std::vector<float> d_gate = gate;
  std::vector<float> d_up = up;
  SwiGluBackward(weights, d_gate, d_up);
  ExpectGradient(gate, d_gate, loss);
  ExpectGradient(up, d_up, loss);
}

TEST(Elementwise, CrossEntropyAndItsGradient) {
  std::vector<float> logits = Random(50, 7);
  logits[3] = 80.0F;  // far above: no overflow
  const auto loss = [&] { return NegativeLogLikelihood(logits, 11); };
  std::vector<float> gradient = logits;
  const double value = CrossEntropy(gradient, 11);
  EXPECT_NEAR(value, 80.0 - static_cast<double>(logits[11]), 1e-4);
  EXPECT_NEAR(value, loss(), 1e-5);
  double sum = 0.0;
  for (const float part : gradient) {
    sum += static_cast<double>(part);
  }
  EXPECT_NEAR(sum, 0.0, 1e-5);
  logits[3] = 0.5F;
  gradient = logits;
  CrossEntropy(gradient, 11);
  ExpectGradient(logits, gradient, loss);
}

}  // namespace
}  // namespace etch::tune
