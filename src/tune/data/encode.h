#pragma once

// Rows as tokens, with a mask of what is trained on. The tokens in front of an answer are exactly
// those that EncodeChat gives a model that is about to write it.

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"
#include "tune/data/dataset.h"
#include "tune/data/finding.h"

namespace etch::tune {

using model::TokenId;

struct Sample {
  std::vector<TokenId> tokens;
  // trained[i] is 1 when token i is a target of the loss, predicted from the tokens before it. The
  // first is always 0: nothing is before it.
  std::vector<uint8_t> trained;
  int64_t line = 0;  // of the row, in its file
};

enum class TrainOn {
  kCompletions,  // each answer and the token that ends it, never the header of its turn
  kLast,         // the last answer of a row alone
  kAll,          // every token
};

// What becomes of rows with more tokens than the context. Whatever it is, a finding says it.
enum class LongRows {
  kRefuse,    // an error: they are counted and named, and training must not begin
  kSkip,      // they are left out
  kTruncate,  // their end is cut off, and with it the token that ends the answer
};

struct SampleOptions {
  TrainOn train_on = TrainOn::kCompletions;
  LongRows long_rows = LongRows::kRefuse;
  int64_t context = 2048;  // tokens a sample may have, at least 2
  // Schema text: a long text becomes several samples instead of a long row. They overlap by one
  // token, so that every token is a target once. Plain text files are always cut.
  bool cut_text = false;
};

struct SampleSet {
  std::vector<Sample> samples;  // in the order of the rows; each has something trained
  std::vector<Finding> findings;
  int64_t n_tokens = 0;              // of all samples
  int64_t n_trained = 0;             // targets among them
  bool uses_plain_template = false;  // chats are written by kPlainChatTemplate
};

// What chats are written in for a model that has no template:
//   system text, a blank line, "User: …", a line end, "Assistant: …", eos, a line end
// A model tuned by it has to be asked by it: the bundle of its adapter carries it.
extern const std::string_view kPlainChatTemplate;

// `chat_template` is null when the model has none: then a row of prompt and completion is the two,
// one behind the other, and eos; other chats are written by kPlainChatTemplate. Findings:
//   over-long-row          by LongRows; also `text-cut` for texts cut into several samples
//   template-refuses-row   the template raises an error for a row (an error; the row is left out)
//   history-rewritten      the template shows earlier answers otherwise than it writes new ones
//                          (without their <think>…): those rows train on the last answer only
//   prompt-differs         the template's generation prompt is not how it writes an answer's turn:
//                          the answer is put behind the generation prompt, as in inference
//   missing-end-token      the template ends no answer by a token that ends generation: eos is
//                          added behind the last one, or the vocabulary has none
//   no-answer, everything-masked   rows in which there is nothing to train on; left out
//   plain-template         chats in kPlainChatTemplate (a warning)
//   glued-completion       prompt and completion without white space between, where no template is
//   nothing-to-train       no row is left (an error)
// kInvalidArgument for a context below 2; kMalformed when the built-in template meets broken text.
Result<SampleSet> EncodeDataset(const Dataset& dataset, const text::Tokenizer& tokenizer,
                                const text::ChatTemplate* chat_template,
                                const SampleOptions& options = {});

}  // namespace etch::tune
