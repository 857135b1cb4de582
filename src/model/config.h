#pragma once

// What a decoder-only transformer of the Llama family is: its sizes and constants. Pure data; every
// source format is read into this, and the image stores nothing else about the architecture.

#include <cstdint>
#include <string>

#include "base/error.h"

namespace etch::model {

// Llama 3.1's frequency scaling (`rope_type: llama3`) or linear position interpolation.
struct RopeScaling {
  enum class Kind : uint8_t { kNone = 0, kLinear = 1, kLlama3 = 2 };
  Kind kind = Kind::kNone;
  double factor = 1.0;
  double low_freq_factor = 1.0;
  double high_freq_factor = 4.0;
  double original_context = 8192.0;

  bool operator==(const RopeScaling&) const = default;
};

// Names follow the model literature: dim, ffn_dim (hidden_dim), n_heads, n_kv_heads.
struct Config {
  std::string architecture = "llama";  // family as the source names it: "llama", "mistral"
  int64_t dim = 0;                     // width of the residual stream
  int64_t ffn_dim = 0;                 // width of the feed-forward network
  int64_t n_layers = 0;
  int64_t n_heads = 0;
  int64_t n_kv_heads = 0;
  int64_t head_dim = 0;  // even; n_heads * head_dim need not equal dim
  int64_t vocab_size = 0;
  int64_t context = 0;  // longest sequence that the model was made for
  double norm_eps = 1e-5;
  double rope_theta = 10000.0;
  RopeScaling rope_scaling;
  bool tied_embeddings = false;  // the head is the token embedding

  int64_t q_dim() const { return n_heads * head_dim; }
  int64_t kv_dim() const { return n_kv_heads * head_dim; }

  bool operator==(const Config&) const = default;
};

// The limits inside which every bound of the numeric contract is proved.
inline constexpr int64_t kMaxDim = 16384;
inline constexpr int64_t kMaxFfnDim = 28672;
inline constexpr int64_t kMaxLayers = 256;
inline constexpr int64_t kMaxHeads = 256;
inline constexpr int64_t kMaxHeadDim = 256;
inline constexpr int64_t kMaxVocabulary = 1 << 20;
inline constexpr int64_t kMaxContext = 131072;

// kUnsupported or kMalformed, naming the field, unless every field lies inside the limits and the
// fields agree.
Status Validate(const Config& config);

// Inverse frequency of rotation pair `pair` in [0, head_dim/2), in radians a position, with scaling
// applied.
double RopeFrequency(const Config& config, int64_t pair);

// Shapes of well-known models, for synthetic images: "llama-3.1-8b", "llama-3.1-8b-layer" (one of
// its layers), "llama-3.2-3b", "llama-3.2-1b", "smollm-135m", "stories260k". kInvalidArgument lists the names that are known.
Result<Config> PresetConfig(std::string_view name);

}  // namespace etch::model
