#pragma once

// Drawing the tokens of one sequence, with speculation: what `etch run` and the scheduler share. A
// Generator is a session, the sequence it reads, the sampler's state and what is known about
// drafts; PassRunner makes one pass over any number of them.
//
//   PassRunner passes(engine);
//   Generator generator(engine, std::move(session), {});
//   generator.Begin(prompt, max_tokens);
//   while (…) {
//     Generator* one = &generator;
//     passes.Run({&one, 1});
//     while (auto event = generator.Draw()) { …event->token… }
//   }
//   generator.Settle();
//
// With and without speculation the same tokens are drawn from the same logits: a drafted token only
// decides whether the logits behind it are at hand already.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/error.h"
#include "engine/engine.h"
#include "engine/prompt_lookup.h"
#include "engine/speculation.h"
#include "numerics/logit_changes.h"
#include "numerics/sampler.h"

namespace etch::engine {

// A token as it was chosen, with the logits it was chosen from (valid until the next pass).
struct TokenEvent {
  TokenId token = 0;
  std::span<const int32_t> logits;
  std::span<const int32_t> hidden = {};  // of GeneratorOptions::hidden: what the head read
};

// What holds a text to a constraint: asked before every draw, told every token that was drawn. One
// sequence's own; called on the thread that draws.
struct TokenFilter {
  // The tokens that may be drawn now, a bit a token of the vocabulary; valid until the next call.
  // All zero when there is none. Unset: every token.
  std::function<numerics::AllowedTokens()> allowed = nullptr;
  std::function<void(TokenId)> accept = nullptr;
};

struct GeneratorOptions {
  numerics::SamplingConfig sampling;
  uint32_t stream = 0;  // which of a request's parallel choices this is
  Speculation speculation = Speculation::kAuto;
  numerics::LogitChanges changes = {};  // of the logits that a token is drawn from
  TokenFilter filter = {};
  bool hidden = false;  // events carry the final norm's output, where the backend gives it
};

struct SpeculationCounts {
  int64_t drafted = 0;   // tokens put into passes as drafts
  int64_t accepted = 0;  // of these, drawn
};

class Generator {
 public:
  Generator(const Engine& engine, std::unique_ptr<Session> session,
            const GeneratorOptions& options);

  // The context is to become `prompt`: what the session holds of it already is kept, the rest is
  // read by the next passes. At least one token is read; `prompt` is not empty. `max_tokens` bounds
  // how far drafts go. The count of drawn tokens goes on.
  void Begin(std::vector<TokenId> prompt, int64_t max_tokens);

  // Before the first Begin: the session has read the first position() of `tokens`, which are more.
  void Adopt(std::vector<TokenId> tokens);

  // Tokens that the session has not read.
  int64_t unread() const { return std::ssize(sequence_) - session_->position(); }
  // The next token, or nothing: then another pass is needed.
  std::optional<TokenEvent> Draw();
  // No place is left for the last token; nothing more can be drawn.
  bool full() const { return !drawable_ && session_->position() == session_->context(); }
  // The filter allows no token; nothing more can be drawn.
  bool stuck() const { return stuck_; }
  // After the caller stops drawing: the session forgets what is not part of the text, and the last
  // token, which no pass without speculation would have read.
  void Settle();

  const Session& session() const { return *session_; }
  // Prompt and drawn tokens; the session has read a prefix of them.
  std::span<const TokenId> sequence() const { return sequence_; }
  uint64_t drawn() const { return drawn_; }
  const SpeculationCounts& counts() const { return counts_; }

 private:
  friend class PassRunner;

  bool decoding() const { return unread() == 1; }
  // The tokens of the next pass: at most `chunk` of the unread ones, or the last one and drafts.
  Step NextStep(int64_t chunk, PassCost& cost, bool may_draft, PassPlan& plan);

  const numerics::FunctionTables& tables_;
  std::unique_ptr<Session> session_;
  GeneratorOptions options_;
  numerics::ChangedLogits changed_;
  std::vector<TokenId> sequence_;  // prompt and drawn tokens; the session has read a prefix
  uint64_t drawn_ = 0;
  uint64_t limit_ = 0;  // of drawn_

  PromptLookup lookup_;
  Acceptance acceptance_;
  SpeculationCounts counts_;

  // Of the present pass.
  std::vector<TokenId> pass_;      // its tokens
  std::vector<TokenId> proposal_;  // what the lookup expects next; its first drafted_ are in pass_
  int64_t match_ = 0;              // tokens that agree before proposal_
  int64_t drafted_ = 0;
  int64_t row_ = 0;        // of the logits that the next token is drawn from
  bool drawable_ = false;  // these logits are at hand
  bool stuck_ = false;
};

// Passes over generators of one engine, and what they cost.
class PassRunner {
 public:
  // `engine` must outlive it.
  explicit PassRunner(Engine& engine) : engine_(engine) {}

  // One Forward. Each generator reads a chunk of what it has not read, or its last token with
  // drafts behind it. Generators differ, none has tokens left to draw and none is full. After an
  // error they stand where they stood.
  Status Run(std::span<Generator* const> generators, int64_t prompt_chunk = 64);

 private:
  Engine& engine_;
  PassCost cost_;
  std::vector<Step> steps_;  // of the present pass; memory is kept
};

}  // namespace etch::engine
