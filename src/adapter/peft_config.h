#pragma once

// adapter_config.json of PEFT: what of it an adapter's arithmetic depends on, and the refusal of
// everything that Etch does not do.

#include <cstdint>
#include <string>
#include <string_view>

#include "adapter/module_patterns.h"
#include "base/error.h"

namespace etch::adapter::internal {

struct PeftConfig {
  int64_t rank = 8;              // "r"; the defaults are PEFT's
  double alpha = 8.0;            // "lora_alpha"
  bool rank_stabilised = false;  // "use_rslora": alpha / sqrt(rank) instead of alpha / rank
  ModulePatterns rank_pattern;
  ModulePatterns alpha_pattern;
  std::string base_model;
};

// kMalformed for what is no JSON of the right form; kUnsupported, naming the method, for every
// variant of LoRA that changes more than A and B.
Result<PeftConfig> ParsePeftConfig(std::string_view text);

}  // namespace etch::adapter::internal
