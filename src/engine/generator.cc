// A pass over the last token t and drafts d1 … dk gives the logits behind each of them. The token
// drawn behind t is right whatever the drafts are. If it is d1, the logits behind d1 are right too,
// and so on to the first difference; what the session has read from there on is forgotten. The
// draws use the same logits, the same random numbers (by index of the drawn token) and the same
// order as single steps: the integer engine gives the same logits however tokens are cut into
// passes. A filter changes nothing in that: it is asked at each draw, with the tokens drawn so far,
// and a draft that it forbids is a draft that is not drawn. The floating-point twin does not
// promise that, and the reference gains nothing, so kAuto drafts on the cpu backend only.

#include "engine/generator.h"

#include <algorithm>
#include <chrono>

namespace etch::engine {

Generator::Generator(const Engine& engine, std::unique_ptr<Session> session,
                     const GeneratorOptions& options)
    : tables_(engine.image().tables()),
      session_(std::move(session)),
      options_(options),
      changed_(options.changes) {
  if (options_.speculation == Speculation::kAuto &&
      engine.info().backend != BackendName(BackendKind::kCpu)) {
    options_.speculation = Speculation::kOff;
  }
}

void Generator::Adopt(std::vector<TokenId> tokens) {
  ETCH_CHECK(sequence_.empty() && std::ssize(tokens) > session_->position());
  sequence_ = std::move(tokens);
}

void Generator::Begin(std::vector<TokenId> prompt, int64_t max_tokens) {
  ETCH_CHECK(!prompt.empty(), "no token to start from");
  Settle();
  const auto read = sequence_.begin() + session_->position();
  const auto common = std::mismatch(sequence_.begin(), read, prompt.begin(), prompt.end()).first;
  session_->Truncate(std::min<int64_t>(common - sequence_.begin(), std::ssize(prompt) - 1));
  sequence_ = std::move(prompt);
  sequence_.reserve(
      static_cast<size_t>(std::min(std::ssize(sequence_) + max_tokens, session_->context() + 1)));
  limit_ = drawn_ + static_cast<uint64_t>(max_tokens);
  lookup_.Clear();
}

Step Generator::NextStep(int64_t chunk, PassCost& cost, bool may_draft, PassPlan& plan) {
  ETCH_CHECK(!drawable_ && unread() > 0, "{} unread tokens", unread());
  const int64_t position = session_->position();
  const int64_t count = std::min(unread(), chunk);
  const auto begin = sequence_.begin() + position;
  pass_.assign(begin, begin + count);
  proposal_.clear();
  drafted_ = 0;
  row_ = 0;
  drawable_ = count == unread();
  if (decoding() && options_.speculation != Speculation::kOff) {
    lookup_.Extend(sequence_);
    match_ = lookup_.Propose(sequence_, kMaxDraft, proposal_);
    if (may_draft) {
      const int64_t room = session_->context() - position - 1;
      const int64_t wanted = static_cast<int64_t>(limit_ - std::min(limit_, drawn_)) - 1;
      drafted_ = ChooseDraft(options_.speculation, cost, acceptance_, match_,
                             std::min(room, wanted), plan);
      pass_.insert(pass_.end(), proposal_.begin(), proposal_.begin() + drafted_);
      counts_.drafted += drafted_;
    }
  }
  return {session_.get(), pass_,
          !drawable_     ? LogitsWanted::kNone
          : drafted_ > 0 ? LogitsWanted::kAll
                         : LogitsWanted::kLast,
          options_.hidden};
}

std::optional<TokenEvent> Generator::Draw() {
  if (!drawable_) {
    return std::nullopt;
  }
  const std::span<const int32_t> logits = session_->logits(row_);
  const std::span<const int32_t> hidden = session_->hidden(row_);
  numerics::AllowedTokens allowed;
  if (options_.filter.allowed) {
    allowed = options_.filter.allowed();
    stuck_ = std::ranges::all_of(allowed, [](uint64_t word) { return word == 0; });
    if (stuck_) {
      return std::nullopt;
    }
  }
  const TokenId token = numerics::Sample(changed_.Apply(logits), options_.sampling, drawn_++,
                                         options_.stream, tables_, allowed);
  changed_.Drawn(token);
  if (options_.filter.accept) {
    options_.filter.accept(token);
  }
  const bool foreseen =
      row_ < std::ssize(proposal_) && proposal_[static_cast<size_t>(row_)] == token;
  if (row_ < std::ssize(proposal_)) {
    acceptance_.Observe(match_ + row_, foreseen);
  }
  sequence_.push_back(token);
  if (foreseen && row_ < drafted_) {
    ++counts_.accepted;
    ++row_;
  } else {
    drawable_ = false;
    session_->Truncate(session_->position() - drafted_ + row_);
  }
  return TokenEvent{token, logits, hidden};
}

void Generator::Settle() {
  drawable_ = false;
  session_->Truncate(
      std::min(session_->position(), std::max<int64_t>(std::ssize(sequence_) - 1, 0)));
}

Status PassRunner::Run(std::span<Generator* const> generators, int64_t prompt_chunk) {
  const bool measured = std::ranges::all_of(
      generators, [](const Generator* generator) { return generator->decoding(); });
  const int64_t sequences = std::ssize(generators);
  PassPlan plan{sequences, sequences, static_cast<double>(sequences)};
  steps_.clear();
  for (Generator* generator : generators) {
    steps_.push_back(generator->NextStep(prompt_chunk, cost_, measured, plan));
  }
  const auto begin = std::chrono::steady_clock::now();
  if (const Status status = engine_.Forward(steps_); !status) {
    for (Generator* generator : generators) {
      generator->Settle();
    }
    return status;
  }
  if (measured) {
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    cost_.Record(plan.columns, seconds.count());
  }
  return {};
}

}  // namespace etch::engine
