#pragma once

// A Vocabulary as the tokenizer files of a Hugging Face directory: the mirror of
// ingest/tokenizer_json.h.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/atomic_folder.h"
#include "base/error.h"
#include "model/vocabulary.h"

namespace etch::exporting {

struct TokenizerFiles {
  std::string tokenizer_json;
  std::string tokenizer_config_json;
  std::string special_tokens_map_json;
  std::string chat_template;       // chat_template.jinja; empty when the model has none
  std::vector<std::string> notes;  // what the files cannot say, a sentence each
};
inline constexpr std::string_view kTokenizerFileNames[] = {
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"};

// kUnsupported, naming the token or the part, for what tokenizer.json has no place for: two tokens
// of one text, text that is no UTF-8, a space prefix before other patterns than GPT-2's.
Result<TokenizerFiles> MakeTokenizerFiles(const model::Vocabulary& vocabulary, int64_t context);

// Puts them into `folder`.
Status WriteTokenizerFiles(const TokenizerFiles& files, const AtomicFolder& folder);

}  // namespace etch::exporting
