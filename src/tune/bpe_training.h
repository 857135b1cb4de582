#pragma once

// Learns a byte-level BPE vocabulary from text (Sennrich et al. 2016; bytes as in GPT-2).

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/progress.h"
#include "model/vocabulary.h"

namespace etch::tune {

struct BpeSettings {
  int64_t vocab_size = 2048;  // control tokens, 256 bytes, then merges
  // Control tokens by id from 0; never made from plain text.
  std::vector<std::string> control_tokens;
  std::string bos;          // one of them, or empty
  std::string end_of_turn;  // one of them: ends an answer
  std::string chat_template;
};

// Text is cut as SmolLM's tokenizer cuts it: each digit by itself, then GPT-2's pattern; a merge
// never crosses a cut. Deterministic. Fewer tokens than asked for when the text has no more pairs.
// kInvalidArgument when there is no room for bytes and control tokens, or bos or end_of_turn is no
// control token.
Result<model::Vocabulary> TrainBpe(std::span<const std::string> texts, const BpeSettings& settings,
                                   const ProgressFn& progress = {});

}  // namespace etch::tune
