#include "numerics/twin.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace etch::numerics {
namespace {

using model::Role;

TEST(Twin, DotHasItsFixedOrder) {
  for (const size_t size : {0U, 1U, 15U, 16U, 17U, 33U, 100U}) {
    std::vector<float> a(size);
    std::vector<float> b(size);
    double want = 0.0;
    for (size_t index = 0; index < size; ++index) {
      a[index] = static_cast<float>(index) - 7.0F;
      b[index] = 0.5F * static_cast<float>(index % 5);
      want += static_cast<double>(a[index]) * static_cast<double>(b[index]);
    }
    EXPECT_EQ(static_cast<double>(TwinDot(a, b)), want) << size;  // exact: small halves
  }
  // With sixteen lanes 1 and -1 meet in lane 0 before 2^-25 of lane 8 is folded onto them; eight
  // lanes, or none, would lose it.
  std::vector<float> values(17, 0.0F);
  values[0] = 1.0F;
  values[8] = 0x1p-25F;
  values[16] = -1.0F;
  EXPECT_EQ(TwinDot(values, std::vector<float>(17, 1.0F)), 0x1p-25F);
}

TEST(Twin, NormHasUnitMeanSquare) {
  const std::vector<float> x = {3.0F, -4.0F, 0.0F, 0.0F};
  std::vector<float> y(4);
  TwinRmsNorm(x, std::vector<float>{1.0F, 2.0F, 1.0F, 1.0F}, 0.0, y);
  EXPECT_FLOAT_EQ(y[0], 1.2F);
  EXPECT_FLOAT_EQ(y[1], -3.2F);
  EXPECT_EQ(y[2], 0.0F);
}

model::Config SmallConfig() {
  model::Config config;
  config.dim = 4;
  config.ffn_dim = 2;
  config.n_layers = 1;
  config.n_heads = 2;
  config.n_kv_heads = 1;
  config.head_dim = 2;
  config.vocab_size = 2;
  config.context = 8;
  config.norm_eps = 0.0;
  return config;
}

// Linear layers that give constants: what the block does with them is countable.
TwinLinear Constants(float value_step) {
  return [value_step](Role role, std::span<const float> in, std::span<float> out) {
    for (size_t index = 0; index < out.size(); ++index) {
      switch (role) {
        case Role::kWv:
          out[index] = value_step * static_cast<float>(index / 2);  // token number
          break;
        case Role::kWo:
          out[index] = in[index];
          break;
        case Role::kGate:
        case Role::kUp:
          out[index] = role == Role::kGate ? 0.0F : 5.0F;
          break;
        case Role::kDown:
          out[index] = 1.0F + in[0];
          break;
        default:
          out[index] = 0.0F;
      }
    }
  };
}

TEST(Twin, BlockAveragesWhatItSeesAndAddsToTheResidual) {
  const model::Config config = SmallConfig();
  const std::vector<float> gains(4, 1.0F);
  TwinCache cache;
  std::vector<float> x(12, 10.0F);
  TwinBlock(config, TwinFrequencies(config), gains, gains, Constants(2.0F), 0, cache, x);
  // Scores are zero, so token t averages values 0, 2 … 2t, which is t; the gate is closed, so the
  // feed-forward adds 1.
  for (size_t index = 0; index < x.size(); ++index) {
    EXPECT_FLOAT_EQ(x[index], 11.0F + static_cast<float>(index / 4));
  }
  EXPECT_EQ(cache.keys.size(), 6U);
  EXPECT_EQ(cache.values, (std::vector<float>{0, 0, 2, 2, 4, 4}));
}

TEST(Twin, TokensTogetherEqualTokensOneByOne) {
  const model::Config config = SmallConfig();
  const std::vector<double> frequencies = TwinFrequencies(config);
  EXPECT_EQ(frequencies, std::vector<double>{1.0});
  const TwinLinear mix = [](Role role, std::span<const float> in, std::span<float> out) {
    const size_t cols = role == Role::kDown ? 2 : 4;
    const size_t tokens = in.size() / cols;
    const size_t rows = out.size() / tokens;
    for (size_t index = 0; index < out.size(); ++index) {
      float sum = 0.0F;
      for (size_t column = 0; column < cols; ++column) {
        const size_t seed = index % rows * 5 + column * 3 + static_cast<size_t>(role);
        sum += in[index / rows * cols + column] * (static_cast<float>(seed % 7) - 3.0F);
      }
      out[index] = sum;
    }
  };
  const std::vector<float> gains = {1.0F, 0.5F, 2.0F, -1.0F};
  std::vector<float> together = {1, 2, 3, 4, -1, 0.5F, 2, 0, 3, 3, -3, 1};
  std::vector<float> apart = together;
  TwinCache cache;
  TwinBlock(config, frequencies, gains, gains, mix, 0, cache, together);
  TwinCache stepwise;
  for (int64_t token = 0; token < 3; ++token) {
    TwinBlock(config, frequencies, gains, gains, mix, token, stepwise,
              std::span(apart).subspan(static_cast<size_t>(token) * 4, 4));
  }
  EXPECT_EQ(together, apart);
  EXPECT_EQ(cache.keys, stepwise.keys);
}

TEST(Twin, KeysAreRotatedByTheirPosition) {
  model::Config config = SmallConfig();
  config.n_heads = 1;
  config.head_dim = 4;
  const TwinLinear counts = [](Role role, std::span<const float>, std::span<float> out) {
    for (size_t index = 0; index < out.size(); ++index) {
      out[index] = role == Role::kWk ? 1.0F + static_cast<float>(index % 4) : 0.0F;
    }
  };
  TwinCache cache;
  std::vector<float> x(8, 1.0F);
  const std::vector<float> gains(4, 1.0F);
  TwinBlock(config, TwinFrequencies(config), gains, gains, counts, 0, cache, x);
  ASSERT_EQ(cache.keys.size(), 8U);
  for (size_t index = 0; index < 4; ++index) {
    EXPECT_FLOAT_EQ(cache.keys[index], 1.0F + static_cast<float>(index));
  }
  // Pair 0 turns by 1 radian a position, pair 1 by 10000^(-1/2).
  EXPECT_FLOAT_EQ(cache.keys[4], static_cast<float>(std::cos(1.0) - 2 * std::sin(1.0)));
  EXPECT_FLOAT_EQ(cache.keys[5], static_cast<float>(std::sin(1.0) + 2 * std::cos(1.0)));
  EXPECT_FLOAT_EQ(cache.keys[6], static_cast<float>(3 * std::cos(0.01) - 4 * std::sin(0.01)));
  EXPECT_FLOAT_EQ(cache.keys[7], static_cast<float>(3 * std::sin(0.01) + 4 * std::cos(0.01)));
}

}  // namespace
}  // namespace etch::numerics
