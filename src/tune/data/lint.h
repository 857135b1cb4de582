#pragma once

// What is likely wrong with a dataset, found before anything is trained on it. What depends on
// tokens (over-long rows, masks, end tokens) EncodeDataset finds.

#include <vector>

#include "text/tokenizer.h"
#include "tune/data/dataset.h"
#include "tune/data/finding.h"

namespace etch::tune {

// Findings, sorted:
//   empty-turn           a turn, or text, of nothing but white space
//   roles-out-of-order   two questions or two answers in a row, an answer first, system inside
//   ends-without-answer  the last turn is not the assistant's: nothing is learned from it
//   exact-duplicate      the same as a row before
//   near-duplicate       the same as a row before but for case, white space, punctuation
//   (Normalize) conflicting-answers  the prompt of a row before, and another answer placeholder
//   {{name}} in a text: literal to the model control-token-text   "<|eot_id|>" in a text: it stays
//   text (needs `tokenizer`; may be null) broken-characters    U+FFFD, or UTF-8 that was once read
//   as Latin-1 ("Ã©", "â€™") too-few-rows         fewer than 20 ignored-keys         keys that the
//   schema does not read
std::vector<Finding> LintDataset(const Dataset& dataset, const text::Tokenizer* tokenizer);

// validation-overlap: rows of `validation` whose prompt (normalised) is one of `train`. Lines are
// those of `validation`.
std::vector<Finding> LintOverlap(const Dataset& train, const Dataset& validation);

}  // namespace etch::tune
