#pragma once

// How often a model answers exactly as it should: greedy answers to prompts, compared token text by
// token text, and how likely the right answer was to it.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/progress.h"
#include "eval/evaluate.h"
#include "text/tokenizer.h"

namespace etch::eval {

struct AnswerTask {
  std::vector<engine::TokenId> prompt;  // not empty
  std::vector<engine::TokenId> answer;  // with the token that ends it, if it ends
};

struct GivenAnswer {
  std::string text;  // without white space around it
  bool is_exact = false;
  double nll_sum = 0.0;  // of the right answer's tokens, nats
  int64_t tokens = 0;    // of the right answer
};

struct AnswerScore {
  std::vector<GivenAnswer> answers;  // one a task

  int64_t exact() const;
  double exact_share() const;
  double nll() const;  // a token of the right answers
};

// Gives each answer at most as many tokens as the right one has and 16 more. Progress in answers.
// kContextExceeded, naming the task, when one does not fit into the engine's context.
Result<AnswerScore> ScoreAnswers(const Subject& subject, const text::Tokenizer& tokenizer,
                                 std::span<const AnswerTask> tasks, const ProgressFn& progress);

// White space at both ends removed.
std::string Trimmed(std::string_view text);

}  // namespace etch::eval
