// A model of seeded random weights, for images in the true shape of a model whose weights are not
// at hand. A value is a hash of where it stands, so that any tensor can be made at any time, and
// the same twice.
//
// A value is the sum of the four bytes of a 32-bit hash, centred and scaled: a bell of 1021 steps
// out to 3.45 standard deviations, near enough to trained weights for sizes, timings and tables. A
// true normal by table or by Box-Muller costs several times as much; the loop below is plain 32-bit
// arithmetic that the compiler vectorises. Linear layers have standard deviation 1 / sqrt(cols),
// which keeps activations near 1; norms are 1.

#include <algorithm>
#include <cmath>

#include "ingest/source_model.h"

namespace etch::ingest {
namespace {

using model::Role;

constexpr size_t kChunk = size_t{1} << 16;
constexpr int64_t kByteTokens = 256;

// SplitMix64's finaliser.
uint64_t Mix(uint64_t value) {
  value += 0x9E3779B97F4A7C15;
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EB;
  return value ^ (value >> 31);
}

// Fills one chunk; `key` differs for every chunk of every tensor.
void FillChunk(uint64_t key, float scale, std::span<float> out) {
  constexpr int32_t kCentre = 2 * 255;
  const auto first_key = static_cast<uint32_t>(key);
  const auto second_key = static_cast<uint32_t>(key >> 32);
  const auto count = static_cast<uint32_t>(out.size());
  float* values = out.data();
  for (uint32_t index = 0; index < count; ++index) {
    uint32_t hash = index * 0x9E3779B1U + first_key;
    hash ^= hash >> 16;
    hash *= 0x85EBCA6BU;
    hash ^= second_key;
    hash ^= hash >> 13;
    hash *= 0xC2B2AE35U;
    hash ^= hash >> 16;
    const uint32_t pairs = (hash & 0x00FF00FFU) + ((hash >> 8) & 0x00FF00FFU);
    const auto sum = static_cast<int32_t>((pairs & 0xFFFFU) + (pairs >> 16));
    values[index] = static_cast<float>(sum - kCentre) * scale;
  }
}

class SyntheticModel final : public SourceModel {
 public:
  SyntheticModel(const model::Config& config, uint64_t seed, std::string name) : seed_(seed) {
    config_ = config;
    format_ = "synthetic";
    name_ = std::move(name);
    MakeVocabulary();
  }

  std::vector<SourceTensor> Tensors() const override;
  Status Read(Role role, int64_t layer, std::span<float> out) const override;
  Status HashFiles() override { return {}; }

 private:
  void MakeVocabulary();

  uint64_t seed_;
};

// The single bytes, then <|bos|> and <|eos|>, then numbered words, as far as vocab_size reaches.
void SyntheticModel::MakeVocabulary() {
  vocabulary_.kind = model::TokenizerKind::kByteLevelBpe;
  for (int64_t id = 0; id < config_.vocab_size; ++id) {
    model::Token token;
    if (id < kByteTokens) {
      token.text = std::string(1, static_cast<char>(id));
    } else {
      token.text = fmt::format(" w{}", id);
    }
    vocabulary_.tokens.push_back(std::move(token));
  }
  if (config_.vocab_size >= kByteTokens + 2) {
    const auto bos = static_cast<model::TokenId>(kByteTokens);
    vocabulary_.bos = bos;
    vocabulary_.eos = bos + 1;
    vocabulary_.tokens[static_cast<size_t>(bos)] = {"<|bos|>", 0.0F, model::TokenType::kControl};
    vocabulary_.tokens[static_cast<size_t>(bos) + 1] = {"<|eos|>", 0.0F,
                                                        model::TokenType::kControl};
    vocabulary_.end_of_generation = {vocabulary_.eos};
    vocabulary_.add_bos = true;
  }
}

std::vector<SourceTensor> SyntheticModel::Tensors() const {
  std::vector<SourceTensor> list;
  for (int index = 0; index < model::kRoleCount; ++index) {
    const Role role = static_cast<Role>(index);
    if (role == Role::kHead && config_.tied_embeddings) {
      continue;
    }
    const model::Shape shape = model::TensorShape(config_, role);
    const int64_t layers = model::IsPerLayer(role) ? config_.n_layers : 1;
    for (int64_t layer = 0; layer < layers; ++layer) {
      list.push_back({model::TensorName(role, layer), "random", {shape.rows, shape.cols}, 0});
    }
  }
  return list;
}

Status SyntheticModel::Read(Role role, int64_t layer, std::span<float> out) const {
  const model::Shape shape = model::TensorShape(config_, role);
  ETCH_CHECK(out.size() == static_cast<size_t>(shape.size()), "{} values for {}", out.size(),
             model::TensorName(role, layer));
  if (model::IsNorm(role)) {
    std::ranges::fill(out, 1.0F);
    return {};
  }
  // A uniform byte has variance (256² - 1) / 12.
  const double deviation = std::sqrt(4.0 * 65535.0 / 12.0);
  const auto scale =
      static_cast<float>(1.0 / (deviation * std::sqrt(static_cast<double>(shape.cols))));
  const int64_t place = model::IsPerLayer(role) ? layer : 0;
  const uint64_t tensor_key =
      Mix(Mix(seed_) ^ (static_cast<uint64_t>(role) << 32 | static_cast<uint64_t>(place)));
  for (size_t start = 0; start < out.size(); start += kChunk) {
    const size_t count = std::min(kChunk, out.size() - start);
    FillChunk(Mix(tensor_key + start / kChunk), scale, out.subspan(start, count));
  }
  return {};
}

}  // namespace

std::unique_ptr<SourceModel> MakeSyntheticModel(const model::Config& config, uint64_t seed,
                                                std::string name) {
  return std::make_unique<SyntheticModel>(config, seed, std::move(name));
}

}  // namespace etch::ingest
