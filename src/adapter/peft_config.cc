#include "adapter/peft_config.h"

// PEFT's LoraConfig has some forty fields (PEFT src/peft/tuners/lora/config.py). Three kinds
// matter:
//
//   arithmetic   r, lora_alpha, use_rslora, rank_pattern, alpha_pattern
//   refused      fields that add tensors, train others, or start from a changed base; each is
//                refused unless it has the value that means "not used"
//   ignored      what only training reads, and target_modules: the tensors say what is adapted
//
// A field that a later PEFT adds is ignored: most only touch training, and those that add tensors
// are caught by the names of these. init_lora_weights needs a list of what is harmless instead of
// one of what is not: PiSSA, OLoRA, LoftQ, CorDA and LoRA-GA subtract their first A and B from the
// base, so their adapter belongs to a base that Etch does not have.

#include <cmath>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

namespace etch::adapter::internal {
namespace {

using nlohmann::json;

constexpr std::string_view kHarmlessInits[] = {"gaussian", "eva", "orthogonal"};

struct Refusal {
  const char* field;
  const char* method;
};
// Not used when absent, null, false, or empty.
constexpr Refusal kRefused[] = {
    {"use_dora", "DoRA"},
    {"modules_to_save", "full weights beside the adapter"},
    {"lora_bias", "a bias on B"},
    {"layer_replication", "replicated layers"},
    {"trainable_token_indices", "trained token embeddings"},
    {"target_parameters", "adapters of bare parameters"},
    {"fan_in_fan_out", "transposed layers"},
    {"use_qalora", "QA-LoRA"},
    {"use_bdlora", "block-diagonal LoRA"},
    {"alora_invocation_tokens", "activated LoRA"},
    {"arrow_config", "Arrow routing"},
    {"kasa_config", "KaSA"},
};

// The field, or null when it is absent or null.
const json* Find(const json& object, const char* field) {
  const auto found = object.find(field);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

bool IsUnused(const json* value) {
  return value == nullptr || (value->is_boolean() && !value->get<bool>()) ||
         ((value->is_structured() || value->is_string()) && value->empty()) ||
         (value->is_string() && value->get_ref<const std::string&>().empty());
}

Status CheckFormat(const json& root) {
  if (Find(root, "lora_parameters") != nullptr || Find(root, "fine_tune_type") != nullptr) {
    return Fail(ErrorCode::kUnsupported,
                "this is an MLX adapter, which keeps A and B transposed under other names; convert "
                "it to PEFT");
  }
  const json* type = Find(root, "peft_type");
  if (type == nullptr || !type->is_string()) {
    return Fail(ErrorCode::kMalformed, "peft_type is missing or not a string");
  }
  if (*type != "LORA") {
    return Fail(ErrorCode::kUnsupported, "peft_type {} is not supported, only LORA",
                type->get_ref<const std::string&>());
  }
  return {};
}

Status CheckMethod(const json& root) {
  for (const Refusal& refusal : kRefused) {
    if (!IsUnused(Find(root, refusal.field))) {
      return Fail(ErrorCode::kUnsupported, "{}: {} is not supported", refusal.field,
                  refusal.method);
    }
  }
  const json* bias = Find(root, "bias");
  if (bias != nullptr && *bias != "none") {
    return Fail(ErrorCode::kUnsupported, "bias: trained biases are not supported, only \"none\"");
  }
  const json* init = Find(root, "init_lora_weights");
  if (init == nullptr || init->is_boolean()) {
    return {};
  }
  for (const std::string_view harmless : kHarmlessInits) {
    if (*init == harmless) {
      return {};
    }
  }
  return Fail(ErrorCode::kUnsupported,
              "init_lora_weights: {} changes the base model, so A and B belong to another base; "
              "convert the adapter to plain LoRA with PEFT's save_pretrained(…, "
              "path_initial_model_for_weight_conversion=…)",
              init->is_string() ? "\"" + init->get_ref<const std::string&>() + "\""
                                : std::string("its value"));
}

Result<int64_t> Rank(const json& value, std::string_view what) {
  if (!value.is_number_integer() || value < 1 || value > std::numeric_limits<int32_t>::max()) {
    return Fail(ErrorCode::kMalformed, "{} is not a positive integer", what);
  }
  return value.get<int64_t>();
}

Result<double> Alpha(const json& value, std::string_view what) {
  if (!value.is_number() || !(std::abs(value.get<double>()) <= 1e30)) {
    return Fail(ErrorCode::kMalformed, "{} is not a number", what);
  }
  return value.get<double>();
}

// `order` are the keys as the file has them; the parsed object has them sorted.
Result<ModulePatterns> Patterns(const json& root, const char* field, bool ranks,
                                const std::vector<std::string>& order) {
  const json* object = Find(root, field);
  if (object == nullptr) {
    return ModulePatterns();
  }
  if (!object->is_object()) {
    return Fail(ErrorCode::kMalformed, "{} is not an object", field);
  }
  std::vector<std::pair<std::string, double>> entries;
  for (const std::string& key : order) {
    const std::string what = fmt::format("{}: \"{}\"", field, key);
    const json& value = object->at(key);
    if (ranks) {
      ETCH_ASSIGN_OR_RETURN(const int64_t rank, Rank(value, what));
      entries.emplace_back(key, static_cast<double>(rank));
    } else {
      ETCH_ASSIGN_OR_RETURN(const double alpha, Alpha(value, what));
      entries.emplace_back(key, alpha);
    }
  }
  return ModulePatterns::Make(std::move(entries), field);
}

// Order of the keys of the two patterns, noted while the document is parsed.
struct KeyOrder {
  std::vector<std::string> ranks;
  std::vector<std::string> alphas;
  std::vector<std::string>* current = nullptr;  // keys of the field of the root being read

  bool operator()(int depth, json::parse_event_t event, const json& parsed) {
    if (event == json::parse_event_t::key && depth == 1) {
      current = parsed == "rank_pattern" ? &ranks : parsed == "alpha_pattern" ? &alphas : nullptr;
      if (current != nullptr) {
        current->clear();  // the field comes again: the last counts
      }
    } else if (event == json::parse_event_t::key && depth == 2 && current != nullptr) {
      current->push_back(parsed.get_ref<const std::string&>());
    }
    return true;
  }
};

Result<PeftConfig> FromJson(const json& root, const KeyOrder& order) {
  ETCH_TRY(CheckFormat(root));
  ETCH_TRY(CheckMethod(root));
  PeftConfig config;
  if (const json* rank = Find(root, "r"); rank != nullptr) {
    ETCH_ASSIGN_OR_RETURN(config.rank, Rank(*rank, "r"));
  }
  if (const json* alpha = Find(root, "lora_alpha"); alpha != nullptr) {
    ETCH_ASSIGN_OR_RETURN(config.alpha, Alpha(*alpha, "lora_alpha"));
  }
  if (const json* flag = Find(root, "use_rslora"); flag != nullptr) {
    if (!flag->is_boolean()) {
      return Fail(ErrorCode::kMalformed, "use_rslora is neither true nor false");
    }
    config.rank_stabilised = flag->get<bool>();
  }
  ETCH_ASSIGN_OR_RETURN(config.rank_pattern, Patterns(root, "rank_pattern", true, order.ranks));
  ETCH_ASSIGN_OR_RETURN(config.alpha_pattern, Patterns(root, "alpha_pattern", false, order.alphas));
  if (const json* base = Find(root, "base_model_name_or_path"); base != nullptr) {
    config.base_model = base->is_string() ? base->get<std::string>() : "";
  }
  return config;
}

}  // namespace

Result<PeftConfig> ParsePeftConfig(std::string_view text) {
  KeyOrder order;
  try {
    const json root = json::parse(text, std::ref(order));
    if (!root.is_object()) {
      return Fail(ErrorCode::kMalformed, "adapter_config.json is not a JSON object");
    }
    Result<PeftConfig> config = FromJson(root, order);
    if (!config) {
      return Prefix("adapter_config.json", std::move(config).error());
    }
    return config;
  } catch (const json::exception& exception) {
    return Fail(ErrorCode::kMalformed, "adapter_config.json: {}", exception.what());
  }
}

}  // namespace etch::adapter::internal
