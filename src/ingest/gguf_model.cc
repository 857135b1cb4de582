#include "ingest/gguf_model.h"

// GGUF keeps Etch's row order of wq and wk and Etch's tensor names, so that only the configuration
// takes thought. Two things are written by llama.cpp's converter in a way that loses their origin
// and are recovered here:
//   - Llama 3.1's RoPE scaling becomes a tensor of divisors, `rope_freqs.weight`, one a rotation
//   pair. It is
//     recognised by computing the divisors that the published parameters (low 1, high 4, original
//     context 8192) give for its largest element as the factor. A table that does not match is
//     refused: an image stores parameters, not tables.
//   - Mistral models say that they are "llama".

#include <algorithm>
#include <cmath>

#include "formats/dequantize.h"
#include "ingest/stored_model.h"
#include "ingest/tokenizer_gguf.h"

namespace etch::ingest {
namespace {

using formats::GgufFile;
using formats::GgufMetadata;
using formats::GgufTensor;
using model::Config;
using model::Role;
using model::RopeScaling;

constexpr std::string_view kRopeFactors = "rope_freqs.weight";
constexpr int64_t kNoTokenId = 0xFFFFFFFF;  // what some converters write for "none"

Result<int64_t> RequiredInteger(const GgufMetadata& metadata, const std::string& key) {
  ETCH_ASSIGN_OR_RETURN(const std::optional<int64_t> value, metadata.Integer(key));
  if (!value) {
    return Fail(ErrorCode::kMalformed, "metadata key \"{}\" is missing", key);
  }
  return *value;
}

Result<RopeScaling> ScalingFromMetadata(const GgufMetadata& metadata, const std::string& prefix) {
  RopeScaling scaling;
  ETCH_ASSIGN_OR_RETURN(const std::optional<std::string> type,
                        metadata.String(prefix + "rope.scaling.type"));
  ETCH_ASSIGN_OR_RETURN(std::optional<double> factor,
                        metadata.Number(prefix + "rope.scaling.factor"));
  if (!type) {
    // Before rope.scaling.type there was only linear scaling.
    ETCH_ASSIGN_OR_RETURN(factor, metadata.Number(prefix + "rope.scale_linear"));
  } else if (*type == "none") {
    factor = std::nullopt;
  } else if (*type != "linear") {
    return Fail(ErrorCode::kUnsupported,
                "RoPE scaling \"{}\" is not supported; supported are linear and Llama 3's", *type);
  }
  if (factor && *factor != 1.0) {
    scaling.kind = RopeScaling::Kind::kLinear;
    scaling.factor = *factor;
  }
  return scaling;
}

// The scaling whose divisors `factors` are.
Result<RopeScaling> ScalingFromFactors(const Config& config, std::span<const float> factors) {
  constexpr double kTolerance = 1e-4;  // the converter computes them in single precision
  const double largest = static_cast<double>(*std::ranges::max_element(factors));
  if (std::ranges::all_of(factors, [](float factor) { return factor == 1.0F; })) {
    return config.rope_scaling;
  }
  Config plain = config;
  plain.rope_scaling = {};
  Config scaled = plain;
  scaled.rope_scaling = {RopeScaling::Kind::kLlama3, largest, 1.0, 4.0, 8192.0};
  for (size_t pair = 0; pair < factors.size(); ++pair) {
    const double expected = model::RopeFrequency(plain, static_cast<int64_t>(pair)) /
                            model::RopeFrequency(scaled, static_cast<int64_t>(pair));
    if (!(std::abs(static_cast<double>(factors[pair]) - expected) <= kTolerance * expected)) {
      return Fail(ErrorCode::kUnsupported,
                  "tensor \"{}\": factor {} of rotation pair {} is not that of Llama 3's RoPE "
                  "scaling ({})",
                  kRopeFactors, factors[pair], pair, expected);
    }
  }
  return scaled.rope_scaling;
}

Status ReadRopeFactors(const GgufFile& file, Config& config) {
  const GgufTensor* tensor = file.Find(kRopeFactors);
  if (tensor == nullptr) {
    return {};
  }
  if (tensor->type != formats::DataType::kF32 ||
      tensor->dims != std::vector<int64_t>{config.head_dim / 2}) {
    return Fail(ErrorCode::kUnsupported, "tensor \"{}\" is not {} values of F32", kRopeFactors,
                config.head_dim / 2);
  }
  std::vector<float> factors(static_cast<size_t>(config.head_dim / 2));
  ETCH_TRY(formats::Dequantize(tensor->type, file.Data(*tensor), factors));
  if (config.rope_scaling.kind != RopeScaling::Kind::kNone) {
    return Fail(ErrorCode::kUnsupported, "tensor \"{}\" beside linear RoPE scaling", kRopeFactors);
  }
  ETCH_ASSIGN_OR_RETURN(config.rope_scaling, ScalingFromFactors(config, factors));
  return {};
}

// Sizes that have a default.
Status ReadHeads(const GgufMetadata& metadata, const std::string& prefix, Config& config) {
  ETCH_ASSIGN_OR_RETURN(config.n_heads, RequiredInteger(metadata, prefix + "attention.head_count"));
  ETCH_ASSIGN_OR_RETURN(const auto n_kv_heads,
                        metadata.Integer(prefix + "attention.head_count_kv"));
  config.n_kv_heads = n_kv_heads.value_or(config.n_heads);
  ETCH_ASSIGN_OR_RETURN(const auto key_length, metadata.Integer(prefix + "attention.key_length"));
  ETCH_ASSIGN_OR_RETURN(const auto value_length,
                        metadata.Integer(prefix + "attention.value_length"));
  if (!key_length && (config.n_heads < 1 || config.dim % config.n_heads != 0)) {
    return Fail(ErrorCode::kMalformed, "{}embedding_length {} is not a multiple of {} heads",
                prefix, config.dim, config.n_heads);
  }
  config.head_dim = key_length ? *key_length : config.dim / config.n_heads;
  if (value_length.value_or(config.head_dim) != config.head_dim) {
    return Fail(ErrorCode::kUnsupported, "{}attention.value_length {} differs from key_length {}",
                prefix, *value_length, config.head_dim);
  }
  ETCH_ASSIGN_OR_RETURN(const auto rotated, metadata.Integer(prefix + "rope.dimension_count"));
  if (rotated.value_or(config.head_dim) != config.head_dim) {
    return Fail(ErrorCode::kUnsupported,
                "{}rope.dimension_count {} differs from the head size {}; partial rotation is not "
                "supported",
                prefix, *rotated, config.head_dim);
  }
  return {};
}

Status CheckArchitecture(const GgufMetadata& metadata, const std::string& architecture) {
  if (architecture != "llama") {
    return Fail(ErrorCode::kUnsupported,
                "architecture \"{}\" is not supported; supported is \"llama\" (Llama, Mistral, "
                "SmolLM)",
                architecture);
  }
  ETCH_ASSIGN_OR_RETURN(const auto experts, metadata.Integer(architecture + ".expert_count"));
  if (experts.value_or(0) > 0) {
    return Fail(ErrorCode::kUnsupported, "a mixture of {} experts is not supported", *experts);
  }
  return {};
}

Status CheckWindow(const GgufMetadata& metadata, const std::string& prefix, int64_t context) {
  ETCH_ASSIGN_OR_RETURN(const auto window, metadata.Integer(prefix + "attention.sliding_window"));
  if (window.value_or(0) > 0 && *window < context) {
    return Fail(ErrorCode::kUnsupported,
                "{}attention.sliding_window {} is smaller than the context {}; sliding attention "
                "is not supported",
                prefix, *window, context);
  }
  return {};
}

Result<Config> ReadConfig(const GgufFile& file) {
  const GgufMetadata& metadata = file.metadata();
  ETCH_ASSIGN_OR_RETURN(const auto architecture, metadata.String("general.architecture"));
  if (!architecture) {
    return Fail(ErrorCode::kMalformed, "metadata key \"general.architecture\" is missing");
  }
  ETCH_TRY(CheckArchitecture(metadata, *architecture));
  const std::string prefix = *architecture + ".";
  Config config;
  config.architecture = *architecture;
  ETCH_ASSIGN_OR_RETURN(config.dim, RequiredInteger(metadata, prefix + "embedding_length"));
  ETCH_ASSIGN_OR_RETURN(config.ffn_dim, RequiredInteger(metadata, prefix + "feed_forward_length"));
  ETCH_ASSIGN_OR_RETURN(config.n_layers, RequiredInteger(metadata, prefix + "block_count"));
  ETCH_ASSIGN_OR_RETURN(config.context, RequiredInteger(metadata, prefix + "context_length"));
  ETCH_TRY(ReadHeads(metadata, prefix, config));
  ETCH_TRY(CheckWindow(metadata, prefix, config.context));
  ETCH_ASSIGN_OR_RETURN(const auto norm_eps,
                        metadata.Number(prefix + "attention.layer_norm_rms_epsilon"));
  if (!norm_eps) {
    return Fail(ErrorCode::kMalformed,
                "metadata key \"{}attention.layer_norm_rms_epsilon\" is missing", prefix);
  }
  config.norm_eps = *norm_eps;
  ETCH_ASSIGN_OR_RETURN(const auto theta, metadata.Number(prefix + "rope.freq_base"));
  config.rope_theta = theta.value_or(10000.0);
  ETCH_ASSIGN_OR_RETURN(config.rope_scaling, ScalingFromMetadata(metadata, prefix));
  const GgufTensor* embedding = file.Find("token_embd.weight");
  if (embedding == nullptr || embedding->dims.size() != 2) {
    return Fail(ErrorCode::kMalformed, "tensor \"token_embd.weight\" is missing or no matrix");
  }
  config.vocab_size = embedding->dims[1];
  config.tied_embeddings = file.Find("output.weight") == nullptr;
  ETCH_TRY(model::Validate(config));
  ETCH_TRY(ReadRopeFactors(file, config));
  return config;
}

Result<std::optional<int64_t>> TokenId(const GgufMetadata& metadata, std::string_view key) {
  ETCH_ASSIGN_OR_RETURN(const auto id, metadata.Integer(key));
  return id == kNoTokenId || id == -1 ? std::nullopt : id;
}

Result<GgufTokenizer> ReadTokenizerKeys(const GgufMetadata& metadata) {
  GgufTokenizer tokenizer;
  const auto text = [&metadata](std::string_view key, std::string& out) -> Status {
    ETCH_ASSIGN_OR_RETURN(const auto value, metadata.String(key));
    out = value.value_or("");
    return {};
  };
  ETCH_TRY(text("tokenizer.ggml.model", tokenizer.model));
  ETCH_TRY(text("tokenizer.ggml.pre", tokenizer.pre));
  ETCH_TRY(text("tokenizer.chat_template", tokenizer.chat_template));
  ETCH_ASSIGN_OR_RETURN(const auto* tokens, metadata.Strings("tokenizer.ggml.tokens"));
  if (tokens == nullptr || tokens->empty()) {
    return Fail(ErrorCode::kMalformed, "metadata key \"tokenizer.ggml.tokens\" is missing");
  }
  tokenizer.tokens = *tokens;
  ETCH_ASSIGN_OR_RETURN(const auto* merges, metadata.Strings("tokenizer.ggml.merges"));
  if (merges != nullptr) {
    tokenizer.merges = *merges;
  }
  ETCH_ASSIGN_OR_RETURN(const auto* scores, metadata.Numbers("tokenizer.ggml.scores"));
  if (scores != nullptr) {
    for (const double score : *scores) {
      tokenizer.scores.push_back(static_cast<float>(score));
    }
  }
  ETCH_ASSIGN_OR_RETURN(const auto* types, metadata.Integers("tokenizer.ggml.token_type"));
  if (types != nullptr) {
    for (const int64_t type : *types) {
      tokenizer.types.push_back(static_cast<int32_t>(std::clamp<int64_t>(type, -1, 255)));
    }
  }
  ETCH_ASSIGN_OR_RETURN(tokenizer.bos, TokenId(metadata, "tokenizer.ggml.bos_token_id"));
  ETCH_ASSIGN_OR_RETURN(tokenizer.eos, TokenId(metadata, "tokenizer.ggml.eos_token_id"));
  ETCH_ASSIGN_OR_RETURN(tokenizer.eot, TokenId(metadata, "tokenizer.ggml.eot_token_id"));
  ETCH_ASSIGN_OR_RETURN(tokenizer.unk, TokenId(metadata, "tokenizer.ggml.unknown_token_id"));
  ETCH_ASSIGN_OR_RETURN(tokenizer.pad, TokenId(metadata, "tokenizer.ggml.padding_token_id"));
  ETCH_ASSIGN_OR_RETURN(tokenizer.add_bos, metadata.Bool("tokenizer.ggml.add_bos_token"));
  ETCH_ASSIGN_OR_RETURN(tokenizer.add_eos, metadata.Bool("tokenizer.ggml.add_eos_token"));
  ETCH_ASSIGN_OR_RETURN(tokenizer.add_space_prefix,
                        metadata.Bool("tokenizer.ggml.add_space_prefix"));
  ETCH_ASSIGN_OR_RETURN(tokenizer.remove_extra_whitespaces,
                        metadata.Bool("tokenizer.ggml.remove_extra_whitespaces"));
  return tokenizer;
}

// Everything but the mapping, with errors that do not name the file yet.
Result<ModelParts> ReadParts(const GgufFile& file) {
  ModelParts parts;
  ETCH_ASSIGN_OR_RETURN(parts.config, ReadConfig(file));
  ETCH_ASSIGN_OR_RETURN(parts.vocabulary, VocabularyFromMetadata(file.metadata()));
  size_t used = 0;
  for (const TensorKey& key : RequiredTensors(parts.config)) {
    const std::string name = model::TensorName(key.first, key.second) + ".weight";
    const GgufTensor* tensor = file.Find(name);
    if (tensor == nullptr) {
      return Fail(ErrorCode::kMalformed, "tensor \"{}\" is missing", name);
    }
    StoredTensor stored{.name = name,
                        .type = tensor->type,
                        .shape = {tensor->dims.rbegin(), tensor->dims.rend()},
                        .data = file.Data(*tensor),
                        .scales = {}};
    parts.tensors.emplace(key, std::move(stored));
    ++used;
  }
  used += file.Find(kRopeFactors) != nullptr ? 1 : 0;
  if (used == file.tensors().size()) {
    return parts;
  }
  for (const GgufTensor& tensor : file.tensors()) {
    const bool known =
        tensor.name == kRopeFactors || std::ranges::any_of(parts.tensors, [&](const auto& entry) {
          return entry.second.name == tensor.name;
        });
    if (!known) {
      return Fail(
          ErrorCode::kUnsupported,
          "tensor \"{}\" at byte {} has no place in a Llama model (biases and adapters are not "
          "supported)",
          tensor.name, tensor.offset);
    }
  }
  return parts;
}

}  // namespace

Result<model::Vocabulary> VocabularyFromMetadata(const GgufMetadata& metadata) {
  ETCH_ASSIGN_OR_RETURN(GgufTokenizer tokenizer, ReadTokenizerKeys(metadata));
  return VocabularyFromGguf(std::move(tokenizer));
}

Result<Config> ConfigFromGguf(const GgufFile& file) { return ReadConfig(file); }

Result<std::unique_ptr<SourceModel>> OpenGgufModel(const std::filesystem::path& path) {
  ETCH_ASSIGN_OR_RETURN(GgufFile file, GgufFile::Open(path));
  Result<ModelParts> parts = ReadParts(file);
  if (!parts) {
    return Prefix(path.filename().string(), std::move(parts).error());
  }
  const Result<std::optional<std::string>> name = file.metadata().String("general.name");
  parts->name = name && *name && !(*name)->empty() ? **name : path.stem().string();
  parts->format = fmt::format("GGUF v{}", file.header().version);
  parts->files = {path};
  parts->mapped.push_back(std::move(file).TakeFile());
  return MakeStoredModel(std::move(*parts));
}

}  // namespace etch::ingest
