#pragma once

// The floating-point twin of the forward pass: the same model in float, over dequantised or
// original weights. It is the yardstick of quality, the oracle of the loaders and the compiler's
// source of calibration. Sums have a fixed order and nothing is contracted, so the twin, too, gives
// the same bits on every machine with the same libm.

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "model/config.h"
#include "model/tensors.h"

namespace etch::numerics {

// Σ a_i · b_i in float, in sixteen interleaved partial sums.
float TwinDot(std::span<const float> a, std::span<const float> b);

// y = x / sqrt(mean(x²) + eps) · gain. `y` may be `x`.
void TwinRmsNorm(std::span<const float> x, std::span<const float> gains, double eps,
                 std::span<float> y);

// Computes one linear layer for n inputs: in (n, cols) → out (n, rows).
using TwinLinear =
    std::function<void(model::Role role, std::span<const float> in, std::span<float> out)>;

// Keys and values of one layer of one sequence, (positions, kv_dim) each; TwinBlock appends to
// them.
struct TwinCache {
  std::vector<float> keys;
  std::vector<float> values;
};

// Inverse frequencies of a model's rotary embedding, head_dim / 2 of them.
std::vector<double> TwinFrequencies(const model::Config& config);

// One block of the model: n tokens at positions start … start+n-1, x (n, dim) updated in place. The
// cache holds exactly `start` positions before and start + n after.
void TwinBlock(const model::Config& config, std::span<const double> frequencies,
               std::span<const float> attention_gains, std::span<const float> ffn_gains,
               const TwinLinear& linear, int64_t start, TwinCache& cache, std::span<float> x);

}  // namespace etch::numerics
