// The floating-point twin as a backend: the image's weights, dequantised a row at a time (or
// original ones of a source image), through numerics/twin.h. It measures what the contract costs
// and is the oracle of the loaders; it is not made for speed.

#include <algorithm>
#include <cmath>

#include "base/thread_pool.h"
#include "engine/backend.h"
#include "numerics/fixed_point.h"
#include "numerics/twin.h"

namespace etch::engine {
namespace {

using model::Role;

struct TwinState : SessionState {
  std::vector<numerics::TwinCache> layers;
  int64_t width = 0;  // values of one token in a layer's keys, and in its values

  void Repeat(int64_t period, int64_t end) override {
    for (numerics::TwinCache& layer : layers) {
      for (std::vector<float>* cache : {&layer.keys, &layer.values}) {
        cache->resize(static_cast<size_t>(end * width));
        for (auto at = static_cast<size_t>(period * width); at < cache->size(); ++at) {
          (*cache)[at] = (*cache)[at - static_cast<size_t>(period * width)];
        }
      }
    }
  }
};

class FloatBackend : public Backend {
 public:
  FloatBackend(const image::Image& image, int threads)
      : image_(image),
        config_(image.config()),
        frequencies_(numerics::TwinFrequencies(image.config())),
        pool_(threads) {}

  Result<std::unique_ptr<SessionState>> NewState(int64_t /*context*/) const override {
    auto state = std::make_unique<TwinState>();
    state->layers.resize(static_cast<size_t>(config_.n_layers));
    state->width = config_.kv_dim();
    return state;
  }
  int64_t kv_bytes_per_token() const override {
    return config_.n_layers * config_.kv_dim() * 2 * static_cast<int64_t>(sizeof(float));
  }
  bool gives_hidden() const override { return true; }
  int threads() const override { return pool_.threads(); }
  Status Forward(std::span<const Column> columns, const Interrupted& interrupted) override;

 private:
  void ForwardRun(std::span<const Column> columns);
  void Multiply(const numerics::WeightView& weights, std::span<const float> in,
                std::span<float> out);
  void AddAdapter(const AdapterLinear& adapter, float weight, std::span<const float> in,
                  std::span<float> out);
  void WriteLogits(std::span<const Column> columns, std::span<const float> x);

  const image::Image& image_;
  const model::Config& config_;
  const std::vector<double> frequencies_;
  ThreadPool pool_;
};

// To R32.
void Round(std::span<const float> values, std::span<int32_t> out) {
  std::ranges::transform(values, out.begin(), [](float value) {
    constexpr double kLimit = numerics::kMax32;
    const double fixed = std::ldexp(static_cast<double>(value), numerics::kPoint);
    return static_cast<int32_t>(std::llround(std::clamp(fixed, -kLimit, kLimit)));
  });
}

Status FloatBackend::Forward(std::span<const Column> columns, const Interrupted& interrupted) {
  while (!columns.empty()) {
    if (interrupted && interrupted()) {
      return Fail(ErrorCode::kCancelled, "interrupted");
    }
    size_t run = 1;
    while (run < columns.size() && columns[run].state == columns.front().state) {
      ++run;
    }
    ForwardRun(columns.first(run));
    columns = columns.subspan(run);
  }
  return {};
}

// Consecutive tokens of one session.
void FloatBackend::ForwardRun(std::span<const Column> columns) {
  auto& state = static_cast<TwinState&>(*columns.front().state);
  const int64_t start = columns.front().position;
  const auto width = static_cast<size_t>(config_.dim);
  std::vector<float> x(columns.size() * width);
  const numerics::WeightView embedding = image_.Weights(Role::kTokenEmbedding, 0);
  for (size_t index = 0; index < columns.size(); ++index) {
    numerics::DequantizeRow(embedding, columns[index].token,
                            std::span(x).subspan(index * width, width));
  }
  for (int64_t layer = 0; layer < config_.n_layers; ++layer) {
    numerics::TwinCache& cache = state.layers[static_cast<size_t>(layer)];
    cache.keys.resize(static_cast<size_t>(start * config_.kv_dim()));
    cache.values.resize(static_cast<size_t>(start * config_.kv_dim()));
    const numerics::TwinLinear linear = [&](Role role, std::span<const float> in,
                                            std::span<float> out) {
      Multiply(image_.Weights(role, layer), in, out);
      for (const ActiveAdapter& active : columns.front().adapters) {
        const AdapterLinear& adapter = active.weights->Linear(layer, role);
        if (adapter.rank > 0) {
          AddAdapter(adapter, static_cast<float>(active.weight_q16) / 65536.0F, in, out);
        }
      }
    };
    numerics::TwinBlock(config_, frequencies_, image_.FloatGains(Role::kAttentionNorm, layer),
                        image_.FloatGains(Role::kFfnNorm, layer), linear, start, cache, x);
  }
  WriteLogits(columns, x);
}

void FloatBackend::WriteLogits(std::span<const Column> columns, std::span<const float> x) {
  const auto width = static_cast<size_t>(config_.dim);
  std::vector<float> normed;  // (columns that want logits, dim)
  for (size_t index = 0; index < columns.size(); ++index) {
    if (!columns[index].logits.empty()) {
      normed.resize(normed.size() + width);
      numerics::TwinRmsNorm(x.subspan(index * width, width), image_.FloatGains(Role::kFinalNorm, 0),
                            config_.norm_eps, std::span(normed).last(width));
    }
  }
  const auto vocabulary = static_cast<size_t>(config_.vocab_size);
  std::vector<float> logits(normed.size() / width * vocabulary);
  Multiply(image_.Weights(Role::kHead, 0), normed, logits);
  size_t row = 0;
  for (const Column& column : columns) {
    if (column.logits.empty()) {
      continue;
    }
    Round(std::span(logits).subspan(row * vocabulary, vocabulary), column.logits);
    if (!column.hidden.empty()) {
      Round(std::span(normed).subspan(row * width, width), column.hidden);
    }
    ++row;
  }
}

// in (n, cols) → out (n, rows).
void FloatBackend::Multiply(const numerics::WeightView& weights, std::span<const float> in,
                            std::span<float> out) {
  const auto cols = static_cast<size_t>(weights.cols);
  const auto rows = static_cast<size_t>(weights.rows);
  const size_t inputs = in.size() / cols;
  if (inputs == 0) {
    return;
  }
  pool_.ParallelFor(weights.rows, 16, [&](int64_t begin, int64_t end) {
    std::vector<float> values(cols);
    for (auto row = static_cast<size_t>(begin); row < static_cast<size_t>(end); ++row) {
      numerics::DequantizeRow(weights, static_cast<int64_t>(row), values);
      for (size_t input = 0; input < inputs; ++input) {
        out[input * rows + row] = numerics::TwinDot(values, in.subspan(input * cols, cols));
      }
    }
  });
}

void FloatBackend::AddAdapter(const AdapterLinear& adapter, float weight, std::span<const float> in,
                              std::span<float> out) {
  const auto rank = static_cast<size_t>(adapter.rank);
  const size_t cols = adapter.a_float.size() / rank;
  const size_t rows = adapter.b_float.size() / rank;
  const size_t inputs = in.size() / cols;
  std::vector<float> reduced(rank);
  for (size_t input = 0; input < inputs; ++input) {
    for (size_t index = 0; index < rank; ++index) {
      reduced[index] = numerics::TwinDot(std::span(adapter.a_float).subspan(index * cols, cols),
                                         in.subspan(input * cols, cols));
    }
    for (size_t row = 0; row < rows; ++row) {
      out[input * rows + row] +=
          weight * numerics::TwinDot(std::span(adapter.b_float).subspan(row * rank, rank), reduced);
    }
  }
}

}  // namespace

std::unique_ptr<Backend> MakeFloatBackend(const image::Image& image, int threads) {
  return std::make_unique<FloatBackend>(image, threads);
}

}  // namespace etch::engine
