#pragma once

// What the readers of tokenizers share: GPT-2's alphabet for bytes, merges written as text, the
// patterns that cut text, and the tokens that end an answer.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/error.h"
#include "model/split_patterns.h"
#include "model/vocabulary.h"

namespace etch::ingest {

using TokenIds = std::unordered_map<std::string, model::TokenId>;

using model::kGpt2Pattern;
using model::kLlama3Pattern;
using model::kQwen2Pattern;

// The bytes that a token means in GPT-2's alphabet, where each byte is a printable character
// ("Ġthe" is " the"); empty when a character is not of that alphabet.
std::optional<std::string> FromByteAlphabet(std::string_view text);

// The merge of `left` and `right`. kMalformed when one of them or both together are no token.
Result<model::Merge> MakeMerge(std::string_view left, std::string_view right, const TokenIds& ids);
// The same from "left right".
Result<model::Merge> ParseMerge(std::string_view line, const TokenIds& ids);

// Fills end_of_generation: eos, what it holds already, and the control and user-defined tokens that
// chat models end a turn with, whatever the source says about them. Sorted, each once.
void CollectEndOfGeneration(model::Vocabulary& vocabulary);

}  // namespace etch::ingest
