#pragma once

// A Hugging Face directory: config.json, safetensors in one file or many, tokenizer files.

#include <filesystem>
#include <memory>
#include <string>

#include "base/error.h"
#include "ingest/source_model.h"

namespace etch::ingest {

// `path` is the directory, or one .safetensors file in it. `tokenizer` overrides the directory's.
Result<std::unique_ptr<SourceModel>> OpenHuggingFaceModel(const std::filesystem::path& path,
                                                          const std::filesystem::path& tokenizer);

// "model.layers.3.self_attn.q_proj.weight".
std::string HuggingFaceName(model::Role role, int64_t layer);

}  // namespace etch::ingest
