#pragma once

// The parts of a block that are no matrix products, forward and backward, in float. Every function
// handles one row (one token) or a run of values; callers spread rows over threads.

#include <cstdint>
#include <span>

namespace etch::tune {

// e^x within two units in the last place, for x in -87 … 88; beyond, 0 and a huge value. Written so
// that compilers vectorise loops over it.
float Exp(float x);

// values = e^values / Σ e^values. Those 87 below the largest become about 1e-38.
void Softmax(std::span<float> values);

// y = x · inverse · gain, with inverse = 1 / sqrt(mean(x²) + eps), which is returned.
float RmsNorm(std::span<const float> x, std::span<const float> gains, double eps,
              std::span<float> y);

// dx += ∂loss/∂x of RmsNorm, from dy and the `inverse` it returned; d_gains (may be empty) +=
// ∂loss/∂gains.
void RmsNormBackward(std::span<const float> x, std::span<const float> gains, float inverse,
                     std::span<const float> dy, std::span<float> dx, std::span<float> d_gains);

// Rotates the pairs (2i, 2i+1) of every head of a row by the angles of a position; `angles` holds
// (cos, sin) for each of head_dim / 2 pairs. The backward step rotates back.
void Rotate(std::span<const float> angles, int64_t head_dim, bool back, std::span<float> row);

// h = silu(gate) · up.
void SwiGlu(std::span<const float> gate, std::span<const float> up, std::span<float> h);
// From dh: gate and up are replaced by their gradients.
void SwiGluBackward(std::span<const float> dh, std::span<float> gate, std::span<float> up);

// Negative log-likelihood of `target` under softmax(logits). The logits are replaced by the
// gradient of that loss.
double CrossEntropy(std::span<float> logits, int64_t target);
// The loss alone; logits are left as they are.
double NegativeLogLikelihood(std::span<const float> logits, int64_t target);

}  // namespace etch::tune
