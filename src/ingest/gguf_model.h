#pragma once

// A model in one GGUF file: configuration, tokenizer and weights.

#include <filesystem>
#include <memory>

#include "base/error.h"
#include "formats/gguf.h"
#include "ingest/source_model.h"

namespace etch::ingest {

Result<std::unique_ptr<SourceModel>> OpenGgufModel(const std::filesystem::path& path);

// The configuration that a file's metadata and tensors describe. kUnsupported, naming what, for
// architectures outside of the Llama family, experts, RoPE scaling other than linear and Llama 3's.
Result<model::Config> ConfigFromGguf(const formats::GgufFile& file);

// The tokenizer in a file's metadata; files without tensors have one, too.
Result<model::Vocabulary> VocabularyFromMetadata(const formats::GgufMetadata& metadata);

}  // namespace etch::ingest
