#pragma once

// The tokenizer inside a GGUF file (keys "tokenizer.ggml.*") as a Vocabulary.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "model/vocabulary.h"

namespace etch::ingest {

// The values of "tokenizer.ggml.*", unchecked. An absent key is an empty string, vector or
// optional.
struct GgufTokenizer {
  std::string model = {};  // .model: "llama" (SentencePiece) or "gpt2" (byte-level BPE)
  std::string pre = {};    // .pre: names the pattern that cuts text into pieces
  std::vector<std::string> tokens = {};       // .tokens: by id
  std::vector<std::string> merges = {};       // .merges: "left right", by rank
  std::vector<float> scores = {};             // .scores: by id
  std::vector<int32_t> types = {};            // .token_type: by id, the numbers of model::TokenType
  std::optional<int64_t> bos = {};            // .bos_token_id
  std::optional<int64_t> eos = {};            // .eos_token_id
  std::optional<int64_t> eot = {};            // .eot_token_id
  std::optional<int64_t> unk = {};            // .unknown_token_id
  std::optional<int64_t> pad = {};            // .padding_token_id
  std::optional<bool> add_bos = {};           // .add_bos_token
  std::optional<bool> add_eos = {};           // .add_eos_token
  std::optional<bool> add_space_prefix = {};  // .add_space_prefix
  std::optional<bool> remove_extra_whitespaces = {};  // .remove_extra_whitespaces
  std::string chat_template = {};                     // tokenizer.chat_template
};

// kUnsupported for a tokenizer model or `pre` that Etch does not know, naming it; kMalformed for
// arrays of unequal length, ids outside of the vocabulary, and merges whose parts or result are no
// tokens.
Result<model::Vocabulary> VocabularyFromGguf(GgufTokenizer tokenizer);

}  // namespace etch::ingest
