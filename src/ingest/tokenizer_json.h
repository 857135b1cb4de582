#pragma once

// Hugging Face's tokenizer.json as a Vocabulary.

#include <string_view>

#include "base/error.h"
#include "model/vocabulary.h"

namespace etch::ingest {

// `tokenizer_json` is the file "tokenizer.json"; `tokenizer_config_json` is "tokenizer_config.json"
// beside it, or empty. chat_template is left empty. kMalformed for JSON that is none or contradicts
// itself; kUnsupported, naming the part, for a model other than BPE and for normalizers,
// pre-tokenizers and post-processors outside of what Llama-like models use.
Result<model::Vocabulary> ReadTokenizerJson(std::string_view tokenizer_json,
                                            std::string_view tokenizer_config_json);

}  // namespace etch::ingest
