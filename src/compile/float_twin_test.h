#pragma once

// The float twin over any set of weights, as the compiler's tests use it: what a source predicts,
// and what is left of it in an image.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "compile/work.h"
#include "image/image.h"
#include "ingest/source_model.h"
#include "numerics/twin.h"
#include "text/tokenizer.h"

namespace etch::compile::testing {

using TensorMap = std::map<std::pair<model::Role, int64_t>, std::vector<float>>;

struct FloatModel {
  model::Config config;
  TensorMap tensors;
};

inline FloatModel FromSource(const ingest::SourceModel& source) {
  FloatModel result{source.config(), {}};
  std::vector<MatrixId> all = MatricesOf(source.config());
  const std::vector<MatrixId> norms = NormsOf(source.config());
  all.insert(all.end(), norms.begin(), norms.end());
  for (const MatrixId& id : all) {
    const Status status = ReadInto(source, id, result.tensors[{id.role, id.layer}]);
    EXPECT_TRUE(status.has_value());
  }
  return result;
}

inline FloatModel FromImage(const image::Image& image) {
  FloatModel result{image.config(), {}};
  for (const MatrixId& id : MatricesOf(image.config())) {
    const numerics::WeightView view = image.Weights(id.role, id.layer);
    std::vector<float>& values = result.tensors[{id.role, id.layer}];
    values.resize(static_cast<size_t>(view.rows * view.cols));
    for (int64_t row = 0; row < view.rows; ++row) {
      numerics::DequantizeRow(view, row,
                              std::span(values).subspan(static_cast<size_t>(row * view.cols),
                                                        static_cast<size_t>(view.cols)));
    }
  }
  for (const MatrixId& id : NormsOf(image.config())) {
    const std::span<const float> gains = image.FloatGains(id.role, id.layer);
    result.tensors[{id.role, id.layer}].assign(gains.begin(), gains.end());
  }
  return result;
}

// in (n, cols) times the transposed weights (rows, cols).
inline void Multiply(std::span<const float> weights, int64_t cols, std::span<const float> in,
                     std::span<float> out) {
  const auto width = static_cast<size_t>(cols);
  const size_t rows = weights.size() / width;
  for (size_t token = 0; token < in.size() / width; ++token) {
    for (size_t row = 0; row < rows; ++row) {
      out[token * rows + row] =
          numerics::TwinDot(weights.subspan(row * width, width), in.subspan(token * width, width));
    }
  }
}

// Log-probabilities (n, vocab_size) of what follows each token.
inline std::vector<float> LogProbabilities(const FloatModel& source,
                                           const std::vector<int32_t>& tokens) {
  using model::Role;
  const model::Config& config = source.config;
  const auto dim = static_cast<size_t>(config.dim);
  const std::vector<float>& embedding = source.tensors.at({Role::kTokenEmbedding, 0});
  std::vector<float> x;
  for (const int32_t token : tokens) {
    const auto row = std::span(embedding).subspan(static_cast<size_t>(token) * dim, dim);
    x.insert(x.end(), row.begin(), row.end());
  }
  const std::vector<double> frequencies = numerics::TwinFrequencies(config);
  for (int64_t layer = 0; layer < config.n_layers; ++layer) {
    numerics::TwinCache cache;
    const auto linear = [&](Role role, std::span<const float> in, std::span<float> out) {
      Multiply(source.tensors.at({role, layer}), model::TensorShape(config, role).cols, in, out);
    };
    numerics::TwinBlock(config, frequencies, source.tensors.at({Role::kAttentionNorm, layer}),
                        source.tensors.at({Role::kFfnNorm, layer}), linear, 0, cache, x);
  }
  for (size_t token = 0; token < tokens.size(); ++token) {
    const auto row = std::span(x).subspan(token * dim, dim);
    numerics::TwinRmsNorm(row, source.tensors.at({Role::kFinalNorm, 0}), config.norm_eps, row);
  }
  const auto vocabulary = static_cast<size_t>(config.vocab_size);
  std::vector<float> out(tokens.size() * vocabulary);
  const Role head = config.tied_embeddings ? Role::kTokenEmbedding : Role::kHead;
  Multiply(source.tensors.at({head, 0}), config.dim, x, out);
  for (size_t token = 0; token < tokens.size(); ++token) {
    const auto row = std::span(out).subspan(token * vocabulary, vocabulary);
    const float largest = *std::max_element(row.begin(), row.end());
    double total = 0.0;
    for (const float logit : row) {
      total += std::exp(static_cast<double>(logit - largest));
    }
    for (float& logit : row) {
      logit = logit - largest - static_cast<float>(std::log(total));
    }
  }
  return out;
}

struct Comparison {
  int64_t tokens = 0;
  double kl = 0.0;   // KL(reference || tested), nats a token
  double nll = 0.0;  // of the tested model
};

inline Comparison Compare(const FloatModel& reference, const FloatModel& tested,
                          const std::vector<std::vector<int32_t>>& sequences) {
  Comparison result;
  const auto vocabulary = static_cast<size_t>(reference.config.vocab_size);
  for (const std::vector<int32_t>& tokens : sequences) {
    const std::vector<float> expected = LogProbabilities(reference, tokens);
    const std::vector<float> actual = LogProbabilities(tested, tokens);
    for (size_t token = 0; token + 1 < tokens.size(); ++token) {
      for (size_t id = token * vocabulary; id < (token + 1) * vocabulary; ++id) {
        const auto p = static_cast<double>(expected[id]);
        result.kl += std::exp(p) * (p - static_cast<double>(actual[id]));
      }
      result.nll -=
          static_cast<double>(actual[token * vocabulary + static_cast<size_t>(tokens[token + 1])]);
      ++result.tokens;
    }
  }
  result.kl /= static_cast<double>(result.tokens);
  result.nll /= static_cast<double>(result.tokens);
  return result;
}

// The first `count` pieces of at most 900 bytes, each cut back to a newline: the cut of the golden
// file stories260K_nll.json.
inline std::vector<std::string> CutPieces(std::string_view text, size_t count) {
  std::vector<std::string> pieces;
  while (pieces.size() < count && !text.empty()) {
    const size_t end = text.substr(0, 900).rfind('\n');
    if (end == std::string_view::npos) {
      break;
    }
    pieces.emplace_back(text.substr(0, end + 1));
    text.remove_prefix(end + 1);
  }
  return pieces;
}

// Pieces [begin, end) as token sequences of at most `length` tokens.
inline std::vector<std::vector<int32_t>> Encode(const ingest::SourceModel& source,
                                                std::span<const std::string> pieces,
                                                size_t length) {
  const auto tokenizer = text::Tokenizer::Create(source.vocabulary());
  EXPECT_TRUE(tokenizer.has_value()) << tokenizer.error().message;
  std::vector<std::vector<int32_t>> sequences;
  for (const std::string& piece : pieces) {
    std::vector<int32_t> tokens = (*tokenizer)->Encode(piece);
    tokens.resize(std::min(tokens.size(), length));
    sequences.push_back(std::move(tokens));
  }
  return sequences;
}

}  // namespace etch::compile::testing
