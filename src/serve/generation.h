#pragma once

// One completion request on its way through the scheduler: prompts in, pieces of text out. The
// scheduler's thread turns tokens into text (so that a stop string ends the work at once); the
// pieces are handed to `deliver`.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/scheduler.h"
#include "grammar/token_masks.h"
#include "serve/reply_parts.h"
#include "serve/request.h"
#include "text/output_text.h"

namespace etch::serve {

struct TokenDetail {
  engine::TokenId token = 0;
  double logprob = 0.0;
  std::vector<engine::TokenLogprob> top;
};

// Something that became known about one choice.
struct Piece {
  int64_t choice = 0;
  std::string text;  // without what follows, once it has passed ReplyParts
  std::string reasoning;
  std::vector<ToolCall> calls;
  std::vector<TokenDetail> details;  // one a token when logprobs are wanted
  std::vector<int32_t> hidden;       // of CompletionRequest::embeds: behind the final norm, R32
  int64_t cached_tokens = 0;         // of the prompt, in the first piece of a prompt's first choice
  int64_t tokens = 0;                // completion tokens that this piece accounts for
  bool started = false;              // nothing yet but that it no longer waits
  bool finished = false;
  engine::FinishReason reason = engine::FinishReason::kStop;
  bool at_stop_string = false;  // for kStop
  bool made_calls = false;      // when it finishes
  std::string error;            // for kFailed

  // Nothing that a client would see.
  bool empty() const {
    return text.empty() && reasoning.empty() && calls.empty() && details.empty() && !finished;
  }
};

struct Generation {
  std::vector<uint64_t> ids;  // of the scheduler, one a choice
  int64_t prompt_tokens = 0;
  int64_t choices = 0;
};

// Submits every choice of `request`, one scheduler request each. `masks`: what the answers are held
// to, or null. `deliver` is called on the
// scheduler's thread. On an error nothing is left running.
Result<Generation> StartGeneration(const CompletionRequest& request,
                                   const std::vector<std::vector<engine::TokenId>>& prompts,
                                   const std::vector<engine::RequestedAdapter>& adapters,
                                   const std::shared_ptr<grammar::TokenMasks>& masks, uint64_t seed,
                                   const text::Tokenizer& tokenizer, engine::Scheduler& scheduler,
                                   const std::function<void(Piece)>& deliver);

}  // namespace etch::serve
