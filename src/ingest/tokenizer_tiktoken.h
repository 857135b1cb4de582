#pragma once

// Llama 3's "tokenizer.model": tiktoken's list of ranks ("base64 rank" lines).

#include <string_view>

#include "base/error.h"
#include "model/vocabulary.h"

namespace etch::ingest {

// Llama 2's and Llama 3's tokenizer.model share a name: true when `bytes` begins with a "base64
// rank" line, false for SentencePiece's protobuf.
bool LooksLikeTiktoken(std::string_view bytes);

// Ranks are ids. Llama 3's 256 special tokens follow the ranks, and its pattern cuts text.
// kMalformed for lines that are no "base64 rank", ranks that do not count up from 0, tokens that
// come twice, and single bytes without a token.
Result<model::Vocabulary> ReadTiktoken(std::string_view text);

}  // namespace etch::ingest
