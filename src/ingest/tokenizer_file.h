#pragma once

// A tokenizer in a file of its own, whatever its format.

#include <cstdint>
#include <filesystem>
#include <string_view>

#include "base/error.h"
#include "model/vocabulary.h"

namespace etch::ingest {

// Reads tokenizer.json, a SentencePiece or tiktoken tokenizer.model, or llama2.c's tokenizer.bin,
// told apart by content. `vocab_size` is the model's; `tokenizer_config` the text of
// tokenizer_config.json, or empty. Errors name the file.
Result<model::Vocabulary> ReadTokenizerFile(const std::filesystem::path& path, int64_t vocab_size,
                                            std::string_view tokenizer_config);

}  // namespace etch::ingest
