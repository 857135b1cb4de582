#pragma once

// Hugging Face's config.json as a Config.

#include <string_view>

#include "base/error.h"
#include "model/config.h"

namespace etch::ingest {

// `text` is the file. kMalformed for JSON that is none or lacks a size; kUnsupported, naming the
// field, for architectures outside of the Llama family and for what they cannot have: biases, a
// sliding window below the context, other RoPE scaling, quantised weights.
Result<model::Config> ReadHuggingFaceConfig(std::string_view text);

}  // namespace etch::ingest
