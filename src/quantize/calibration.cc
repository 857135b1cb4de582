// Calibration is the float twin run breadth first: all sequences through layer 0, then all through
// layer 1, so that one layer's weights are in memory at a time however large the model is. The hook
// that TwinBlock offers for its linear layers sees every input on its way.
//
// Two things are gathered there. The importance of an input channel is its mean square, which makes
// Σ importance · (w − ŵ)² the energy of a row's output error when channels are uncorrelated. What
// an 8-bit (16-bit) input costs is measured, not modelled: the input is rounded as the contract
// rounds it and multiplied by the float weights, and the output compared. Evenly spaced rows stand
// for the layer there, and evenly spaced tokens for the text, so that the measure adds little to
// the forward pass itself. Rejected: comparing the inputs instead of the outputs (an outlier
// channel dominates the input's energy while the columns that read it are small, so the damage to
// its neighbours goes unseen: exactly the case that 16 bits are for).

#include "quantize/calibration.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "numerics/activation.h"
#include "numerics/fixed_point.h"
#include "numerics/twin.h"

namespace etch::quantize {
namespace {

using model::InputSite;
using model::Role;
using numerics::ActivationFormat;

constexpr int64_t kErrorRows = 128;   // of each layer
constexpr int64_t kErrorTokens = 64;  // of each sequence
constexpr int kProductPoint = 32;     // fraction bits of the products that `down` reads
constexpr double kLargestProduct = 0x1p61;

struct Matrix {
  model::Shape shape;
  std::vector<float> values;
};

template <class T>
std::span<T> Row(std::span<T> matrix, int64_t row, int64_t cols) {
  return matrix.subspan(static_cast<size_t>(row * cols), static_cast<size_t>(cols));
}

Result<Matrix> ReadMatrix(const model::Config& config, const ReadTensor& read, Role role,
                          int64_t layer) {
  Matrix matrix{model::TensorShape(config, role), {}};
  matrix.values.resize(static_cast<size_t>(matrix.shape.size()));
  ETCH_TRY(read(role, layer, matrix.values));
  return matrix;
}

// What one input would be after rounding to `format` and back.
void RoundInput(std::span<const float> in, bool is_product, ActivationFormat format,
                std::span<float> out) {
  numerics::Activation rounded;
  if (is_product) {
    std::vector<int64_t> fixed(in.size());
    for (size_t col = 0; col < in.size(); ++col) {
      const double scaled = std::ldexp(static_cast<double>(in[col]), kProductPoint);
      fixed[col] = std::llrint(std::clamp(scaled, -kLargestProduct, kLargestProduct));
    }
    numerics::QuantizeActivation(fixed, kProductPoint, format, rounded);
  } else {
    std::vector<int32_t> fixed(in.size());
    for (size_t col = 0; col < in.size(); ++col) {
      const double scaled = std::ldexp(static_cast<double>(in[col]), numerics::kPoint);
      fixed[col] = static_cast<int32_t>(
          std::lrint(std::clamp<double>(scaled, -numerics::kMax32, numerics::kMax32)));
    }
    numerics::QuantizeActivation(fixed, format, rounded);
  }
  for (size_t col = 0; col < in.size(); ++col) {
    const int shift = rounded.shifts[col / static_cast<size_t>(numerics::kBlock)];
    out[col] = std::ldexp(static_cast<float>(rounded.codes[col]), shift - rounded.point);
  }
}

// Energies of one linear layer's output and of the errors that rounded inputs make in it.
struct OutputEnergy {
  double exact = 0.0;
  std::array<double, 2> error{};  // A8, A16
};

// What is gathered at one site, over all sequences.
struct SiteSums {
  std::vector<double> squares;  // of each channel
  int64_t tokens = 0;
  std::vector<OutputEnergy> readers;
};

void AddSquares(std::span<const float> in, SiteSums& sums) {
  const size_t cols = sums.squares.size();
  for (size_t start = 0; start < in.size(); start += cols) {
    for (size_t col = 0; col < cols; ++col) {
      const auto value = static_cast<double>(in[start + col]);
      sums.squares[col] += value * value;
    }
    ++sums.tokens;
  }
}

// in (n, cols) → out (n, rows).
void Multiply(const Matrix& weights, std::span<const float> in, ThreadPool& pool,
              std::span<float> out) {
  const int64_t rows = weights.shape.rows;
  const int64_t cols = weights.shape.cols;
  const int64_t tokens = static_cast<int64_t>(in.size()) / cols;
  pool.ParallelFor(rows, 16, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const auto weight = Row(std::span(weights.values), row, cols);
      for (int64_t token = 0; token < tokens; ++token) {
        out[static_cast<size_t>(token * rows + row)] =
            numerics::TwinDot(weight, Row(in, token, cols));
      }
    }
  });
}

void AddErrors(const Matrix& weights, std::span<const float> in, bool is_product,
               OutputEnergy& energy) {
  const auto [rows, cols] = weights.shape;
  const int64_t tokens = static_cast<int64_t>(in.size()) / cols;
  const int64_t token_count = std::min(tokens, kErrorTokens);
  const int64_t row_count = std::min(rows, kErrorRows);
  std::vector<float> difference(static_cast<size_t>(cols));
  for (int64_t token_index = 0; token_index < token_count; ++token_index) {
    const auto exact = Row(in, token_index * tokens / token_count, cols);
    for (size_t format = 0; format < energy.error.size(); ++format) {
      RoundInput(exact, is_product, static_cast<ActivationFormat>(format), difference);
      for (size_t col = 0; col < difference.size(); ++col) {
        difference[col] -= exact[col];
      }
      for (int64_t row_index = 0; row_index < row_count; ++row_index) {
        const auto weight = Row(std::span(weights.values), row_index * rows / row_count, cols);
        const auto error = static_cast<double>(numerics::TwinDot(weight, difference));
        energy.error[format] += error * error;
        if (format == 0) {
          const auto output = static_cast<double>(numerics::TwinDot(weight, exact));
          energy.exact += output * output;
        }
      }
    }
  }
}

Result<SiteStatistics> Finish(const SiteSums& sums, std::string_view what) {
  SiteStatistics site;
  for (const double square : sums.squares) {
    site.importance.push_back(static_cast<float>(square / static_cast<double>(sums.tokens)));
    if (!std::isfinite(site.importance.back())) {
      return Fail(ErrorCode::kMalformed,
                  "calibration: the input of {} overflows; the model's weights are broken", what);
    }
  }
  for (const OutputEnergy& reader : sums.readers) {
    if (reader.exact > 0.0) {
      const auto readers = static_cast<double>(sums.readers.size());
      site.a8_error += reader.error[0] / reader.exact / readers;
      site.a16_error += reader.error[1] / reader.exact / readers;
    }
  }
  return site;
}

Status CheckSequences(const model::Config& config,
                      std::span<const std::vector<int32_t>> sequences) {
  int64_t tokens = 0;
  for (const std::vector<int32_t>& sequence : sequences) {
    const auto length = static_cast<int64_t>(sequence.size());
    tokens += length;
    if (length > config.context) {
      return Fail(ErrorCode::kInvalidArgument,
                  "a calibration sequence of {} tokens is longer than the context of {}", length,
                  config.context);
    }
    for (const int32_t token : sequence) {
      if (token < 0 || token >= config.vocab_size) {
        return Fail(ErrorCode::kInvalidArgument,
                    "calibration token {} is outside the vocabulary of {}", token,
                    config.vocab_size);
      }
    }
  }
  if (tokens == 0) {
    return Fail(ErrorCode::kInvalidArgument, "the calibration text has no tokens");
  }
  return {};
}

// The state of a calibration run.
class Run {
 public:
  Run(const model::Config& config, const ReadTensor& read,
      std::span<const std::vector<int32_t>> sequences, ThreadPool& pool)
      : config_(config),
        read_(read),
        sequences_(sequences),
        pool_(pool),
        frequencies_(numerics::TwinFrequencies(config)) {}

  Status Embed();
  Status RunLayer(int64_t layer, std::vector<SiteStatistics>& sites);
  Result<SiteStatistics> RunHead();
  int64_t tokens() const { return tokens_; }

 private:
  void Observe(Role role, const Matrix& weights, std::span<const float> in,
               std::array<SiteSums, model::kLayerSites>& sums) const;

  const model::Config& config_;
  const ReadTensor& read_;
  std::span<const std::vector<int32_t>> sequences_;
  ThreadPool& pool_;
  std::vector<double> frequencies_;
  std::vector<std::vector<float>> streams_;  // (n, dim) a sequence
  int64_t tokens_ = 0;
};

Status Run::Embed() {
  ETCH_ASSIGN_OR_RETURN(const Matrix table, ReadMatrix(config_, read_, Role::kTokenEmbedding, 0));
  for (const std::vector<int32_t>& sequence : sequences_) {
    std::vector<float> stream;
    for (const int32_t token : sequence) {
      const auto row = Row(std::span(table.values), token, config_.dim);
      stream.insert(stream.end(), row.begin(), row.end());
    }
    tokens_ += static_cast<int64_t>(sequence.size());
    streams_.push_back(std::move(stream));
  }
  return {};
}

void Run::Observe(Role role, const Matrix& weights, std::span<const float> in,
                  std::array<SiteSums, model::kLayerSites>& sums) const {
  const InputSite site = model::SiteOf(role);
  SiteSums& at = sums[static_cast<size_t>(site)];
  size_t reader = 0;
  for (const Role other : model::kBlockLinears) {
    if (other == role) {
      break;
    }
    reader += model::SiteOf(other) == site ? 1 : 0;
  }
  if (reader == 0) {
    at.squares.resize(static_cast<size_t>(weights.shape.cols));
    AddSquares(in, at);
  }
  at.readers.resize(std::max(at.readers.size(), reader + 1));
  AddErrors(weights, in, site == InputSite::kDown, at.readers[reader]);
}

Status Run::RunLayer(int64_t layer, std::vector<SiteStatistics>& sites) {
  ETCH_ASSIGN_OR_RETURN(const Matrix attention_gains,
                        ReadMatrix(config_, read_, Role::kAttentionNorm, layer));
  ETCH_ASSIGN_OR_RETURN(const Matrix ffn_gains, ReadMatrix(config_, read_, Role::kFfnNorm, layer));
  std::array<Matrix, model::kRoleCount> weights;
  for (const Role role : model::kBlockLinears) {
    ETCH_ASSIGN_OR_RETURN(weights[static_cast<size_t>(role)],
                          ReadMatrix(config_, read_, role, layer));
  }
  std::array<SiteSums, model::kLayerSites> sums;
  const auto linear = [&](Role role, std::span<const float> in, std::span<float> out) {
    const Matrix& matrix = weights[static_cast<size_t>(role)];
    Multiply(matrix, in, pool_, out);
    Observe(role, matrix, in, sums);
  };
  for (std::vector<float>& stream : streams_) {
    if (!stream.empty()) {
      numerics::TwinCache cache;
      numerics::TwinBlock(config_, frequencies_, attention_gains.values, ffn_gains.values, linear,
                          0, cache, stream);
    }
  }
  for (size_t site = 0; site < sums.size(); ++site) {
    const std::string what =
        fmt::format("blk.{} {}", layer, model::SiteName(static_cast<InputSite>(site)));
    ETCH_ASSIGN_OR_RETURN(SiteStatistics statistics, Finish(sums[site], what));
    sites.push_back(std::move(statistics));
  }
  return {};
}

Result<SiteStatistics> Run::RunHead() {
  ETCH_ASSIGN_OR_RETURN(const Matrix gains, ReadMatrix(config_, read_, Role::kFinalNorm, 0));
  const Role role = config_.tied_embeddings ? Role::kTokenEmbedding : Role::kHead;
  ETCH_ASSIGN_OR_RETURN(const Matrix head, ReadMatrix(config_, read_, role, 0));
  SiteSums sums;
  sums.squares.resize(static_cast<size_t>(config_.dim));
  sums.readers.resize(1);
  for (std::vector<float>& stream : streams_) {
    for (size_t start = 0; start < stream.size(); start += sums.squares.size()) {
      const auto token = std::span(stream).subspan(start, sums.squares.size());
      numerics::TwinRmsNorm(token, gains.values, config_.norm_eps, token);
    }
    if (!stream.empty()) {
      AddSquares(stream, sums);
      AddErrors(head, stream, false, sums.readers.front());
    }
  }
  return Finish(sums, "the head");
}

}  // namespace

Result<Calibration> Calibrate(const model::Config& config, const ReadTensor& read,
                              std::span<const std::vector<int32_t>> sequences, ThreadPool& pool,
                              const ProgressFn& progress) {
  ETCH_TRY(CheckSequences(config, sequences));
  Run run(config, read, sequences, pool);
  ETCH_TRY(run.Embed());
  Calibration calibration;
  calibration.tokens = run.tokens();
  const int64_t total = config.n_layers * run.tokens();
  for (int64_t layer = 0; layer < config.n_layers; ++layer) {
    if (progress && !progress({"calibrating", layer * run.tokens(), total, "tokens"})) {
      return Fail(ErrorCode::kCancelled, "interrupted while calibrating");
    }
    ETCH_TRY(run.RunLayer(layer, calibration.sites));
  }
  ETCH_ASSIGN_OR_RETURN(calibration.head, run.RunHead());
  return calibration;
}

}  // namespace etch::quantize
