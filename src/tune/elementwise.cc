#include "tune/elementwise.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

// Compiled for several instruction sets; the program takes the best at start. Nothing is contracted
// or reordered, so all give the same bits. Not under sanitizers, which are not ready when the
// choice is made.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define ETCH_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define ETCH_CLONES
#endif

namespace etch::tune {
namespace {

// Σ f(i) in sixteen interleaved partial sums: a fixed order that vectorises.
template <class Term>
inline __attribute__((always_inline)) float Sum(size_t count, const Term& term) {
  constexpr size_t kLanes = 16;
  std::array<float, kLanes> sums{};
  size_t index = 0;
  for (; index + kLanes <= count; index += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      sums[lane] += term(index + lane);
    }
  }
  for (; index < count; ++index) {
    sums[index % kLanes] += term(index);
  }
  for (size_t width = kLanes / 2; width > 0; width /= 2) {
    for (size_t lane = 0; lane < width; ++lane) {
      sums[lane] += sums[lane + width];
    }
  }
  return sums[0];
}

// Cephes' expf: 2^n · p(r) with |r| ≤ ln 2 / 2. n is rounded by adding 1.5 · 2^23, which leaves it
// in the low bits of the sum.
inline __attribute__((always_inline)) float ExpOf(float x) {
  constexpr float kRounder = 12582912.0F;
  float clamped = x < -87.0F ? -87.0F : x;
  clamped = clamped > 88.0F ? 88.0F : clamped;
  const float shifted = clamped * 1.44269504088896341F + kRounder;
  const float whole = shifted - kRounder;
  const float r = (clamped - whole * 0.693359375F) + whole * 2.12194440e-4F;
  float p = 1.9875691500e-4F;
  p = p * r + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  p = p * (r * r) + r + 1.0F;
  return p * std::bit_cast<float>((std::bit_cast<uint32_t>(shifted) + 127U) << 23);
}

inline __attribute__((always_inline)) float Sigmoid(float x) { return 1.0F / (1.0F + ExpOf(-x)); }

inline __attribute__((always_inline)) float Largest(std::span<const float> values) {
  constexpr size_t kLanes = 16;
  std::array<float, kLanes> best;
  best.fill(values[0]);
  size_t index = 0;
  for (; index + kLanes <= values.size(); index += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      best[lane] = std::max(best[lane], values[index + lane]);
    }
  }
  for (; index < values.size(); ++index) {
    best[0] = std::max(best[0], values[index]);
  }
  return *std::ranges::max_element(best);
}

}  // namespace

float Exp(float x) { return x < -87.0F ? 0.0F : ExpOf(x); }

ETCH_CLONES void Softmax(std::span<float> values) {
  const float largest = Largest(values);
  for (float& value : values) {
    value = ExpOf(value - largest);
  }
  const float inverse = 1.0F / Sum(values.size(), [&](size_t index) { return values[index]; });
  for (float& value : values) {
    value *= inverse;
  }
}

ETCH_CLONES float RmsNorm(std::span<const float> x, std::span<const float> gains, double eps,
                          std::span<float> y) {
  const float mean = Sum(x.size(), [&](size_t index) { return x[index] * x[index]; }) /
                     static_cast<float>(x.size());
  const float inverse = 1.0F / std::sqrt(mean + static_cast<float>(eps));
  for (size_t index = 0; index < x.size(); ++index) {
    y[index] = gains[index] * (inverse * x[index]);
  }
  return inverse;
}

// With n = x · inverse: dx = inverse · (dy · gain - n · mean(dy · gain · n)).
ETCH_CLONES void RmsNormBackward(std::span<const float> x, std::span<const float> gains,
                                 float inverse, std::span<const float> dy, std::span<float> dx,
                                 std::span<float> d_gains) {
  const float mean =
      Sum(x.size(), [&](size_t index) { return dy[index] * gains[index] * x[index]; }) * inverse /
      static_cast<float>(x.size());
  for (size_t index = 0; index < x.size(); ++index) {
    dx[index] += inverse * (dy[index] * gains[index] - x[index] * inverse * mean);
  }
  for (size_t index = 0; index < d_gains.size(); ++index) {
    d_gains[index] += dy[index] * x[index] * inverse;
  }
}

ETCH_CLONES void Rotate(std::span<const float> angles, int64_t head_dim, bool back,
                        std::span<float> row) {
  const float direction = back ? -1.0F : 1.0F;
  const auto pairs = static_cast<size_t>(head_dim / 2);
  for (size_t head = 0; head < row.size(); head += 2 * pairs) {
    for (size_t pair = 0; pair < pairs; ++pair) {
      const float cosine = angles[2 * pair];
      const float sine = angles[2 * pair + 1] * direction;
      float& even = row[head + 2 * pair];
      float& odd = row[head + 2 * pair + 1];
      const float turned = even * cosine - odd * sine;
      odd = even * sine + odd * cosine;
      even = turned;
    }
  }
}

ETCH_CLONES void SwiGlu(std::span<const float> gate, std::span<const float> up,
                        std::span<float> h) {
  for (size_t index = 0; index < h.size(); ++index) {
    h[index] = gate[index] * Sigmoid(gate[index]) * up[index];
  }
}

// silu'(g) = σ(g) · (1 + g · (1 - σ(g))).
ETCH_CLONES void SwiGluBackward(std::span<const float> dh, std::span<float> gate,
                                std::span<float> up) {
  for (size_t index = 0; index < dh.size(); ++index) {
    const float g = gate[index];
    const float sigmoid = Sigmoid(g);
    const float d_gate = dh[index] * up[index] * sigmoid * (1.0F + g * (1.0F - sigmoid));
    up[index] = dh[index] * g * sigmoid;
    gate[index] = d_gate;
  }
}

ETCH_CLONES double CrossEntropy(std::span<float> logits, int64_t target) {
  const float largest = Largest(logits);
  const float wanted = logits[static_cast<size_t>(target)];
  for (float& logit : logits) {
    logit = ExpOf(logit - largest);
  }
  const float sum = Sum(logits.size(), [&](size_t index) { return logits[index]; });
  const float inverse = 1.0F / sum;
  for (float& logit : logits) {
    logit *= inverse;
  }
  logits[static_cast<size_t>(target)] -= 1.0F;
  return std::log(static_cast<double>(sum)) + static_cast<double>(largest) -
         static_cast<double>(wanted);
}

ETCH_CLONES double NegativeLogLikelihood(std::span<const float> logits, int64_t target) {
  const float largest = Largest(logits);
  const float sum =
      Sum(logits.size(), [&](size_t index) { return ExpOf(logits[index] - largest); });
  return std::log(static_cast<double>(sum)) + static_cast<double>(largest) -
         static_cast<double>(logits[static_cast<size_t>(target)]);
}

}  // namespace etch::tune
