#include "ingest/huggingface_config.h"

// config.json has grown over the years; both spellings are read where a field has two:
//   rope_scaling {"type": …}           →  rope_scaling {"rope_type": …}    (transformers 4.43)
//   rope_theta, rope_scaling           →  rope_parameters {"rope_theta", "rope_type", …}  (5.0)
// Defaults are those of LlamaConfig and MistralConfig. `torch_dtype` is not looked at: each tensor
// says its own type.

#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

namespace etch::ingest {
namespace {

using model::Config;
using model::RopeScaling;
using nlohmann::json;

// The field, or null when it is absent or null.
const json* Find(const json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

Result<std::optional<int64_t>> Integer(const json& object, const char* key) {
  const json* value = Find(object, key);
  if (value == nullptr) {
    return std::nullopt;
  }
  if (!value->is_number_integer() ||
      (value->is_number_unsigned() && value->get<uint64_t>() > uint64_t{INT64_MAX})) {
    return Fail(ErrorCode::kMalformed, "{} is not an integer", key);
  }
  return value->get<int64_t>();
}

Result<int64_t> RequiredInteger(const json& object, const char* key) {
  ETCH_ASSIGN_OR_RETURN(const auto value, Integer(object, key));
  if (!value) {
    return Fail(ErrorCode::kMalformed, "{} is missing", key);
  }
  return *value;
}

Result<double> Number(const json& object, const char* key, double otherwise) {
  const json* value = Find(object, key);
  if (value == nullptr) {
    return otherwise;
  }
  if (!value->is_number()) {
    return Fail(ErrorCode::kMalformed, "{} is not a number", key);
  }
  return value->get<double>();
}

Result<bool> Flag(const json& object, const char* key) {
  const json* value = Find(object, key);
  if (value != nullptr && !value->is_boolean()) {
    return Fail(ErrorCode::kMalformed, "{} is neither true nor false", key);
  }
  return value != nullptr && value->get<bool>();
}

Result<std::string> Text(const json& object, const char* key) {
  const json* value = Find(object, key);
  if (value != nullptr && !value->is_string()) {
    return Fail(ErrorCode::kMalformed, "{} is not a string", key);
  }
  return value == nullptr ? std::string() : value->get<std::string>();
}

// "llama" or "mistral", from `architectures` or `model_type`.
Result<std::string> Architecture(const json& root) {
  ETCH_ASSIGN_OR_RETURN(const std::string type, Text(root, "model_type"));
  std::string name = type == "llama"     ? "LlamaForCausalLM"
                     : type == "mistral" ? "MistralForCausalLM"
                                         : type;
  if (const json* list = Find(root, "architectures"); list != nullptr) {
    if (!list->is_array() || list->size() != 1 || !list->front().is_string()) {
      return Fail(ErrorCode::kMalformed, "architectures is not a list of one name");
    }
    name = list->front().get<std::string>();
  }
  if (name == "LlamaForCausalLM") {
    return std::string("llama");
  }
  if (name == "MistralForCausalLM") {
    return std::string("mistral");
  }
  return Fail(ErrorCode::kUnsupported,
              "architecture \"{}\" is not supported; supported are LlamaForCausalLM and "
              "MistralForCausalLM",
              name);
}

Result<RopeScaling> Llama3Scaling(const json& object, double factor) {
  RopeScaling scaling = {.kind = RopeScaling::Kind::kLlama3, .factor = factor};
  for (const char* key :
       {"low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}) {
    if (Find(object, key) == nullptr) {
      return Fail(ErrorCode::kMalformed, "RoPE scaling \"llama3\" lacks {}", key);
    }
  }
  ETCH_ASSIGN_OR_RETURN(scaling.low_freq_factor, Number(object, "low_freq_factor", 0.0));
  ETCH_ASSIGN_OR_RETURN(scaling.high_freq_factor, Number(object, "high_freq_factor", 0.0));
  ETCH_ASSIGN_OR_RETURN(scaling.original_context,
                        Number(object, "original_max_position_embeddings", 0.0));
  return scaling;
}

Result<RopeScaling> Scaling(const json& object) {
  ETCH_ASSIGN_OR_RETURN(std::string type, Text(object, "rope_type"));
  if (type.empty()) {
    ETCH_ASSIGN_OR_RETURN(type, Text(object, "type"));
  }
  if (type.empty() || type == "default") {
    return RopeScaling{};
  }
  if (type != "linear" && type != "llama3") {
    return Fail(ErrorCode::kUnsupported,
                "RoPE scaling \"{}\" is not supported; supported are linear and llama3", type);
  }
  if (Find(object, "factor") == nullptr) {
    return Fail(ErrorCode::kMalformed, "RoPE scaling \"{}\" lacks its factor", type);
  }
  ETCH_ASSIGN_OR_RETURN(const double factor, Number(object, "factor", 1.0));
  if (type == "llama3") {
    return Llama3Scaling(object, factor);
  }
  return RopeScaling{.kind = RopeScaling::Kind::kLinear, .factor = factor};
}

Status ReadRope(const json& root, Config& config) {
  ETCH_ASSIGN_OR_RETURN(config.rope_theta, Number(root, "rope_theta", 10000.0));
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const json* object = Find(root, key);
    if (object == nullptr) {
      continue;
    }
    if (!object->is_object()) {
      return Fail(ErrorCode::kMalformed, "{} is not an object", key);
    }
    ETCH_ASSIGN_OR_RETURN(config.rope_scaling, Scaling(*object));
    ETCH_ASSIGN_OR_RETURN(config.rope_theta, Number(*object, "rope_theta", config.rope_theta));
    ETCH_ASSIGN_OR_RETURN(const double part, Number(*object, "partial_rotary_factor", 1.0));
    if (part != 1.0) {
      return Fail(ErrorCode::kUnsupported, "partial_rotary_factor {} is not supported", part);
    }
  }
  return {};
}

Status CheckFeatures(const json& root, int64_t context) {
  for (const char* key : {"attention_bias", "mlp_bias"}) {
    ETCH_ASSIGN_OR_RETURN(const bool biased, Flag(root, key));
    if (biased) {
      return Fail(ErrorCode::kUnsupported, "{} is true; biases are not supported", key);
    }
  }
  ETCH_ASSIGN_OR_RETURN(const std::string activation, Text(root, "hidden_act"));
  if (!activation.empty() && activation != "silu") {
    return Fail(ErrorCode::kUnsupported, "hidden_act \"{}\" is not supported; supported is silu",
                activation);
  }
  if (Find(root, "quantization_config") != nullptr) {
    return Fail(ErrorCode::kUnsupported,
                "quantization_config: quantised safetensors are not supported; use the original "
                "weights or a GGUF file");
  }
  ETCH_ASSIGN_OR_RETURN(const auto window, Integer(root, "sliding_window"));
  if (window && *window < context) {
    return Fail(
        ErrorCode::kUnsupported,
        "sliding_window {} is smaller than max_position_embeddings {}; sliding attention is "
        "not supported, but with max_position_embeddings set to {} the model is the same",
        *window, context, *window);
  }
  return {};
}

Result<Config> FromJson(const json& root) {
  if (!root.is_object()) {
    return Fail(ErrorCode::kMalformed, "is not a JSON object");
  }
  Config config;
  ETCH_ASSIGN_OR_RETURN(config.architecture, Architecture(root));
  ETCH_ASSIGN_OR_RETURN(config.dim, RequiredInteger(root, "hidden_size"));
  ETCH_ASSIGN_OR_RETURN(config.ffn_dim, RequiredInteger(root, "intermediate_size"));
  ETCH_ASSIGN_OR_RETURN(config.n_layers, RequiredInteger(root, "num_hidden_layers"));
  ETCH_ASSIGN_OR_RETURN(config.n_heads, RequiredInteger(root, "num_attention_heads"));
  ETCH_ASSIGN_OR_RETURN(const auto n_kv_heads, Integer(root, "num_key_value_heads"));
  config.n_kv_heads = n_kv_heads.value_or(config.architecture == "mistral" ? 8 : config.n_heads);
  ETCH_ASSIGN_OR_RETURN(const auto head_dim, Integer(root, "head_dim"));
  if (!head_dim && (config.n_heads < 1 || config.dim % config.n_heads != 0)) {
    return Fail(ErrorCode::kMalformed, "hidden_size {} is not a multiple of {} heads", config.dim,
                config.n_heads);
  }
  config.head_dim = head_dim ? *head_dim : config.dim / config.n_heads;
  ETCH_ASSIGN_OR_RETURN(config.vocab_size, RequiredInteger(root, "vocab_size"));
  ETCH_ASSIGN_OR_RETURN(config.context, RequiredInteger(root, "max_position_embeddings"));
  ETCH_ASSIGN_OR_RETURN(config.norm_eps, Number(root, "rms_norm_eps", 1e-6));
  ETCH_ASSIGN_OR_RETURN(config.tied_embeddings, Flag(root, "tie_word_embeddings"));
  ETCH_TRY(ReadRope(root, config));
  ETCH_TRY(CheckFeatures(root, config.context));
  ETCH_TRY(model::Validate(config));
  return config;
}

}  // namespace

Result<Config> ReadHuggingFaceConfig(std::string_view text) {
  const json root = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (root.is_discarded()) {
    return Fail(ErrorCode::kMalformed, "is no JSON");
  }
  return FromJson(root);
}

}  // namespace etch::ingest
