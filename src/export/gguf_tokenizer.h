#pragma once

// A Vocabulary as the "tokenizer.*" keys of a GGUF file: the mirror of ingest/tokenizer_gguf.h.

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "formats/gguf.h"
#include "model/vocabulary.h"

namespace etch::exporting {

// Adds the tokenizer and the chat template to `metadata`. llama.cpp wants a token for each row of
// the embedding, so a shorter vocabulary is filled up with unused tokens. `notes` gets a sentence
// for each thing that GGUF, as llama.cpp reads it, cannot say. kUnsupported for merges that cannot
// be written.
Status AddTokenizer(const model::Vocabulary& vocabulary, int64_t vocab_size,
                    formats::GgufMetadata& metadata, std::vector<std::string>& notes);

// llama.cpp's name for the way `vocabulary` cuts text into pieces ("llama-bpe", "gpt-2", "smollm",
// "qwen2", "default"); empty when it has none.
std::string PreTokenizerName(const model::Vocabulary& vocabulary);

}  // namespace etch::exporting
