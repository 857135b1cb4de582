#include "export/twin_logits.h"

#include <algorithm>

#include "numerics/twin.h"

namespace etch::exporting {
namespace {

using model::Role;

class Run {
 public:
  Run(const model::Config& config, const ReadTensor& read, ThreadPool& pool, std::string_view phase,
      const ProgressFn& progress)
      : config_(config), read_(read), pool_(pool), phase_(phase), progress_(progress) {}

  Result<std::vector<float>> Logits(std::span<const model::TokenId> tokens);

 private:
  Status Load(Role role, int64_t layer, std::vector<float>& out) {
    if (progress_ && !progress_({phase_, done_, config_.n_layers, "layers"})) {
      return Fail(ErrorCode::kCancelled, "interrupted while {}", phase_);
    }
    out.resize(static_cast<size_t>(model::TensorShape(config_, role).size()));
    return read_(role, layer, out);
  }

  // in (n, cols) → out (n, rows) by weights_.
  void Multiply(size_t cols, std::span<const float> in, std::span<float> out) {
    const size_t rows = weights_.size() / cols;
    pool_.ParallelFor(static_cast<int64_t>(rows), 16, [&](int64_t begin, int64_t end) {
      for (auto row = static_cast<size_t>(begin); row < static_cast<size_t>(end); ++row) {
        const auto values = std::span(weights_).subspan(row * cols, cols);
        for (size_t input = 0; input < in.size() / cols; ++input) {
          out[input * rows + row] = numerics::TwinDot(values, in.subspan(input * cols, cols));
        }
      }
    });
  }

  Status Block(int64_t layer, std::span<const double> frequencies, std::span<float> x);

  const model::Config& config_;
  const ReadTensor& read_;
  ThreadPool& pool_;
  std::string_view phase_;
  const ProgressFn& progress_;
  int64_t done_ = 0;
  std::vector<float> weights_;  // the matrix in use
};

Status Run::Block(int64_t layer, std::span<const double> frequencies, std::span<float> x) {
  std::vector<float> attention_gains;
  std::vector<float> ffn_gains;
  ETCH_TRY(Load(Role::kAttentionNorm, layer, attention_gains));
  ETCH_TRY(Load(Role::kFfnNorm, layer, ffn_gains));
  Status status;  // of the loads inside of the block, which cannot return one
  const numerics::TwinLinear linear = [&](Role role, std::span<const float> in,
                                          std::span<float> out) {
    if (status) {
      status = Load(role, layer, weights_);
    }
    if (status) {
      Multiply(static_cast<size_t>(model::TensorShape(config_, role).cols), in, out);
    } else {
      std::ranges::fill(out, 0.0F);
    }
  };
  numerics::TwinCache cache;
  numerics::TwinBlock(config_, frequencies, attention_gains, ffn_gains, linear, 0, cache, x);
  ++done_;
  return status;
}

Result<std::vector<float>> Run::Logits(std::span<const model::TokenId> tokens) {
  const auto dim = static_cast<size_t>(config_.dim);
  std::vector<float> x;
  x.reserve(tokens.size() * dim);
  ETCH_TRY(Load(Role::kTokenEmbedding, 0, weights_));
  for (const model::TokenId token : tokens) {
    const auto row = std::span(weights_).subspan(static_cast<size_t>(token) * dim, dim);
    x.insert(x.end(), row.begin(), row.end());
  }
  const std::vector<double> frequencies = numerics::TwinFrequencies(config_);
  for (int64_t layer = 0; layer < config_.n_layers; ++layer) {
    ETCH_TRY(Block(layer, frequencies, x));
  }
  std::vector<float> gains;
  ETCH_TRY(Load(Role::kFinalNorm, 0, gains));
  for (size_t begin = 0; begin < x.size(); begin += dim) {
    const auto row = std::span(x).subspan(begin, dim);
    numerics::TwinRmsNorm(row, gains, config_.norm_eps, row);
  }
  ETCH_TRY(Load(config_.tied_embeddings ? Role::kTokenEmbedding : Role::kHead, 0, weights_));
  std::vector<float> logits(tokens.size() * static_cast<size_t>(config_.vocab_size));
  Multiply(dim, x, logits);
  return logits;
}

}  // namespace

Result<std::vector<float>> TwinLogits(const model::Config& config, const ReadTensor& read,
                                      std::span<const model::TokenId> tokens, ThreadPool& pool,
                                      std::string_view phase, const ProgressFn& progress) {
  return Run(config, read, pool, phase, progress).Logits(tokens);
}

}  // namespace etch::exporting
