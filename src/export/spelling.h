#pragma once

// How files spell what a vocabulary holds as bytes and ids: GPT-2's alphabet, merges as pairs of
// texts, and the merges of vocabularies that have none.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "model/vocabulary.h"

namespace etch::exporting {

// `bytes` in GPT-2's alphabet, where each byte is a printable character (" the" is "Ġthe").
std::string ToByteAlphabet(std::string_view bytes);

// A token's text as tokenizer.json and GGUF have it: ordinary tokens of a byte-level vocabulary in
// GPT-2's alphabet, all others as they are.
std::string SpelledToken(const model::Vocabulary& vocabulary, model::TokenId id);

// The merges of a vocabulary, by rank. Where it has none of its own (ranks are ids, or order is by
// score), every way to cut a token into two tokens is a merge, and those whose result comes first
// (the lowest id, the highest score) come first: what Hugging Face's converters make of tiktoken
// and SentencePiece.
std::vector<model::Merge> MergesOf(const model::Vocabulary& vocabulary);

// "left right" of each merge. kUnsupported, naming it, for a merge that does not read back as the
// same three tokens: one of them has a space in it, or shares its text with another token.
Result<std::vector<std::string>> SpelledMerges(const model::Vocabulary& vocabulary);

}  // namespace etch::exporting
