#include "tune/lora.h"

#include "tune/matrix.h"
#include "tune/random.h"

namespace etch::tune {
namespace {

void Resize(std::vector<float>& values, int64_t size) { values.resize(static_cast<size_t>(size)); }

// What dropout multiplies a value with: 0, or 1 / (1 - p).
float Keep(uint64_t noise, int64_t stream, int64_t index, float probability) {
  return UniformAt(noise, static_cast<uint64_t>(stream), static_cast<uint64_t>(index)) < probability
             ? 0.0F
             : 1.0F / (1.0F - probability);
}

}  // namespace

const float* LoraProducts::Drop(uint64_t noise, int64_t stream, int64_t count, const float* x) {
  const auto probability = static_cast<float>(model_.lora_settings().dropout);
  if (noise == 0 || probability == 0.0F) {
    return x;
  }
  Resize(dropped_, count);
  constexpr int64_t kGrain = 4096;
  pool_.ParallelFor(count, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t index = begin; index < end; ++index) {
      dropped_[static_cast<size_t>(index)] = x[index] * Keep(noise, stream, index, probability);
    }
  });
  return dropped_.data();
}

void LoraProducts::Forward(model::Role role, int64_t layer, uint64_t noise, int64_t tokens,
                           const float* x, float* y) {
  const LoraIndex pair = model_.Lora(role, layer);
  if (pair.a < 0) {
    return;
  }
  const auto [rows, cols] = model::TensorShape(model_.config(), role);
  const int64_t rank = model_.lora_settings().rank;
  const auto scaling = static_cast<float>(model_.lora_settings().scaling());
  const float* a = model_.parameters().Of(pair.a).data();
  const float* b = model_.parameters().Of(pair.b).data();
  const float* in = Drop(noise, pair.a, tokens * cols, x);
  Resize(reduced_, tokens * rank);
  Multiply(pool_, tokens, rank, cols, 1.0F, {in, cols, false}, {a, cols, true}, 0.0F,
           {reduced_.data(), rank});
  Multiply(pool_, tokens, rows, rank, scaling, {reduced_.data(), rank, false}, {b, rank, true},
           1.0F, {y, rows});
}

// With u = drop(x) Aᵀ: dB += s · dyᵀ u, du = s · dy B, dA += duᵀ drop(x), d drop(x) = du A.
void LoraProducts::Backward(model::Role role, int64_t layer, uint64_t noise, int64_t tokens,
                            const float* x, const float* dy, float* dx,
                            std::span<float> gradients) {
  const LoraIndex pair = model_.Lora(role, layer);
  if (pair.a < 0) {
    return;
  }
  const auto [rows, cols] = model::TensorShape(model_.config(), role);
  const int64_t rank = model_.lora_settings().rank;
  const auto scaling = static_cast<float>(model_.lora_settings().scaling());
  const Parameters& parameters = model_.parameters();
  const float* a = parameters.Of(pair.a).data();
  const float* b = parameters.Of(pair.b).data();
  const float* in = Drop(noise, pair.a, tokens * cols, x);
  Resize(reduced_, tokens * rank);
  Resize(d_reduced_, tokens * rank);
  Multiply(pool_, tokens, rank, cols, 1.0F, {in, cols, false}, {a, cols, true}, 0.0F,
           {reduced_.data(), rank});
  Multiply(pool_, rows, rank, tokens, scaling, {dy, rows, true}, {reduced_.data(), rank, false},
           1.0F, {parameters.Part(gradients, pair.b).data(), rank});
  Multiply(pool_, tokens, rank, rows, scaling, {dy, rows, false}, {b, rank, false}, 0.0F,
           {d_reduced_.data(), rank});
  Multiply(pool_, rank, cols, tokens, 1.0F, {d_reduced_.data(), rank, true}, {in, cols, false},
           1.0F, {parameters.Part(gradients, pair.a).data(), cols});
  if (in == x) {
    Multiply(pool_, tokens, cols, rank, 1.0F, {d_reduced_.data(), rank, false}, {a, cols, false},
             1.0F, {dx, cols});
    return;
  }
  Resize(d_dropped_, tokens * cols);
  Multiply(pool_, tokens, cols, rank, 1.0F, {d_reduced_.data(), rank, false}, {a, cols, false},
           0.0F, {d_dropped_.data(), cols});
  const auto probability = static_cast<float>(model_.lora_settings().dropout);
  constexpr int64_t kGrain = 4096;
  pool_.ParallelFor(tokens * cols, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t index = begin; index < end; ++index) {
      dx[index] += d_dropped_[static_cast<size_t>(index)] * Keep(noise, pair.a, index, probability);
    }
  });
}

}  // namespace etch::tune
