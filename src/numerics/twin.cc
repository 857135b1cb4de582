#include "numerics/twin.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/error.h"

namespace etch::numerics {
namespace {

std::span<const float> Row(std::span<const float> matrix, int64_t row, int64_t cols) {
  return matrix.subspan(static_cast<size_t>(row * cols), static_cast<size_t>(cols));
}
std::span<float> Row(std::span<float> matrix, int64_t row, int64_t cols) {
  return matrix.subspan(static_cast<size_t>(row * cols), static_cast<size_t>(cols));
}

// Rotates adjacent pairs of every head of one token.
void Rotate(std::span<const double> frequencies, int64_t position, std::span<float> heads) {
  const size_t pairs = frequencies.size();
  for (size_t pair = 0; pair < pairs; ++pair) {
    const double angle = static_cast<double>(position) * frequencies[pair];
    const auto cosine = static_cast<float>(std::cos(angle));
    const auto sine = static_cast<float>(std::sin(angle));
    for (size_t head = 0; head < heads.size(); head += 2 * pairs) {
      const float even = heads[head + 2 * pair];
      const float odd = heads[head + 2 * pair + 1];
      heads[head + 2 * pair] = even * cosine - odd * sine;
      heads[head + 2 * pair + 1] = even * sine + odd * cosine;
    }
  }
}

// One query head over `visible` keys of its key/value head.
void AttendHead(const model::Config& config, std::span<const float> query, const TwinCache& cache,
                int64_t kv_head, int64_t visible, std::span<float> out) {
  const auto stride = static_cast<size_t>(config.kv_dim());
  const auto offset = static_cast<size_t>(kv_head * config.head_dim);
  const auto width = static_cast<size_t>(config.head_dim);
  const float scale = 1.0F / std::sqrt(static_cast<float>(config.head_dim));
  std::vector<float> weights(static_cast<size_t>(visible));
  float largest = -INFINITY;
  for (size_t key = 0; key < weights.size(); ++key) {
    const std::span<const float> keys = std::span(cache.keys).subspan(key * stride + offset, width);
    weights[key] = TwinDot(query, keys) * scale;
    largest = std::max(largest, weights[key]);
  }
  float total = 0.0F;
  for (float& weight : weights) {
    weight = std::exp(weight - largest);
    total += weight;
  }
  std::fill(out.begin(), out.end(), 0.0F);
  for (size_t key = 0; key < weights.size(); ++key) {
    const float weight = weights[key] / total;
    const float* value = cache.values.data() + key * stride + offset;
    for (size_t channel = 0; channel < width; ++channel) {
      out[channel] += weight * value[channel];
    }
  }
}

void Add(std::span<const float> delta, std::span<float> x) {
  for (size_t index = 0; index < x.size(); ++index) {
    x[index] += delta[index];
  }
}

std::vector<float> NormRows(const model::Config& config, std::span<const float> x,
                            std::span<const float> gains) {
  std::vector<float> out(x.size());
  const int64_t tokens = static_cast<int64_t>(x.size()) / config.dim;
  for (int64_t token = 0; token < tokens; ++token) {
    TwinRmsNorm(Row(x, token, config.dim), gains, config.norm_eps,
                Row(std::span(out), token, config.dim));
  }
  return out;
}

}  // namespace

float TwinDot(std::span<const float> a, std::span<const float> b) {
  constexpr size_t kLanes = 16;
  std::array<float, kLanes> sums{};
  size_t index = 0;
  for (; index + kLanes <= a.size(); index += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      sums[lane] += a[index + lane] * b[index + lane];
    }
  }
  for (; index < a.size(); ++index) {
    sums[index % kLanes] += a[index] * b[index];
  }
  for (size_t width = kLanes / 2; width > 0; width /= 2) {
    for (size_t lane = 0; lane < width; ++lane) {
      sums[lane] += sums[lane + width];
    }
  }
  return sums[0];
}

void TwinRmsNorm(std::span<const float> x, std::span<const float> gains, double eps,
                 std::span<float> y) {
  const float mean = TwinDot(x, x) / static_cast<float>(x.size());
  const float inverse = 1.0F / std::sqrt(mean + static_cast<float>(eps));
  for (size_t index = 0; index < x.size(); ++index) {
    y[index] = gains[index] * (inverse * x[index]);
  }
}

std::vector<double> TwinFrequencies(const model::Config& config) {
  std::vector<double> frequencies;
  for (int64_t pair = 0; pair < config.head_dim / 2; ++pair) {
    frequencies.push_back(model::RopeFrequency(config, pair));
  }
  return frequencies;
}

void TwinBlock(const model::Config& config, std::span<const double> frequencies,
               std::span<const float> attention_gains, std::span<const float> ffn_gains,
               const TwinLinear& linear, int64_t start, TwinCache& cache, std::span<float> x) {
  using model::Role;
  const int64_t tokens = static_cast<int64_t>(x.size()) / config.dim;
  const auto matrix = [tokens](int64_t cols) {
    return std::vector<float>(static_cast<size_t>(tokens * cols));
  };
  ETCH_DCHECK(cache.keys.size() == static_cast<size_t>(start * config.kv_dim()));

  // Attention: norm, projections, rotation, then every head over the keys up to its own position.
  std::vector<float> normed = NormRows(config, x, attention_gains);  // (n, dim)
  std::vector<float> queries = matrix(config.q_dim());
  std::vector<float> keys = matrix(config.kv_dim());
  std::vector<float> values = matrix(config.kv_dim());
  linear(Role::kWq, normed, queries);
  linear(Role::kWk, normed, keys);
  linear(Role::kWv, normed, values);
  for (int64_t token = 0; token < tokens; ++token) {
    Rotate(frequencies, start + token, Row(std::span(queries), token, config.q_dim()));
    Rotate(frequencies, start + token, Row(std::span(keys), token, config.kv_dim()));
  }
  cache.keys.insert(cache.keys.end(), keys.begin(), keys.end());
  cache.values.insert(cache.values.end(), values.begin(), values.end());
  std::vector<float> attended = matrix(config.q_dim());
  const int64_t heads_per_kv = config.n_heads / config.n_kv_heads;
  for (int64_t token = 0; token < tokens; ++token) {
    for (int64_t head = 0; head < config.n_heads; ++head) {
      const int64_t row = token * config.n_heads + head;
      AttendHead(config, Row(std::span<const float>(queries), row, config.head_dim), cache,
                 head / heads_per_kv, start + token + 1,
                 Row(std::span(attended), row, config.head_dim));
    }
  }
  std::vector<float> delta = matrix(config.dim);
  linear(Role::kWo, attended, delta);
  Add(delta, x);

  // Feed-forward: norm, gate and up, SwiGLU, down.
  normed = NormRows(config, x, ffn_gains);
  std::vector<float> gate = matrix(config.ffn_dim);
  std::vector<float> up = matrix(config.ffn_dim);
  linear(Role::kGate, normed, gate);
  linear(Role::kUp, normed, up);
  for (size_t index = 0; index < gate.size(); ++index) {
    gate[index] = gate[index] / (1.0F + std::exp(-gate[index])) * up[index];
  }
  linear(Role::kDown, gate, delta);
  Add(delta, x);
}

}  // namespace etch::numerics
