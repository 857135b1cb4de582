#include "eval/evaluate.h"

#include <algorithm>
#include <cmath>

namespace etch::eval {
namespace {

using engine::TokenId;

// Logits are computed for so many tokens at a time, to bound their memory.
constexpr int64_t kChunk = 64;

// ln Σ exp(logit), in nats.
double LogTotal(std::span<const int32_t> logits) {
  const int32_t largest = *std::max_element(logits.begin(), logits.end());
  double total = 0.0;
  for (const int32_t logit : logits) {
    total += std::exp((static_cast<double>(logit) - largest) / 65536.0);
  }
  return std::log(total) + largest / 65536.0;
}

// KL(p ‖ q) of the distributions behind two rows of logits.
double Divergence(std::span<const int32_t> p, std::span<const int32_t> q) {
  const double p_total = LogTotal(p);
  const double q_total = LogTotal(q);
  double divergence = 0.0;
  for (size_t token = 0; token < p.size(); ++token) {
    const double log_p = p[token] / 65536.0 - p_total;
    divergence += std::exp(log_p) * (log_p - (q[token] / 65536.0 - q_total));
  }
  return std::max(0.0, divergence);
}

TokenId Top(std::span<const int32_t> logits) {
  return static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

void ScoreRow(std::span<const int32_t> tested, const std::span<const int32_t>* reference,
              TokenId next, Score& score) {
  score.nll_sum += LogTotal(tested) - tested[static_cast<size_t>(next)] / 65536.0;
  ++score.tokens;
  if (reference != nullptr) {
    const double divergence = Divergence(*reference, tested);
    score.kl_sum += divergence;
    score.kl_max = std::max(score.kl_max, divergence);
    score.same_top += Top(*reference) == Top(tested) ? 1 : 0;
    ++score.compared;
  }
}

Result<std::unique_ptr<engine::Session>> NewSession(const Subject& subject, size_t tokens) {
  return subject.engine->NewSession({static_cast<int64_t>(tokens), subject.adapters});
}

}  // namespace

double Score::perplexity() const { return std::exp(nll()); }

double Score::same_top_share() const {
  return compared > 0 ? static_cast<double>(same_top) / static_cast<double>(compared) : 0.0;
}

void Score::Add(const Score& other) {
  tokens += other.tokens;
  nll_sum += other.nll_sum;
  kl_sum += other.kl_sum;
  kl_max = std::max(kl_max, other.kl_max);
  same_top += other.same_top;
  compared += other.compared;
}

std::vector<std::vector<TokenId>> CutWindows(std::span<const TokenId> tokens, TokenId bos,
                                             int64_t window) {
  const bool has_bos = bos != model::kNoToken;
  const auto length = static_cast<size_t>(std::max<int64_t>(2, window) - (has_bos ? 1 : 0));
  std::vector<std::vector<TokenId>> windows;
  for (size_t begin = 0; begin < tokens.size(); begin += length) {
    std::vector<TokenId> cut;
    if (has_bos) {
      cut.push_back(bos);
    }
    const std::span<const TokenId> part =
        tokens.subspan(begin, std::min(length, tokens.size() - begin));
    cut.insert(cut.end(), part.begin(), part.end());
    if (cut.size() >= 2) {
      windows.push_back(std::move(cut));
    }
  }
  return windows;
}

Result<Score> ScoreWindow(const Subject& tested, const Subject* reference,
                          std::span<const TokenId> window) {
  if (reference != nullptr && reference->engine->image().config().vocab_size !=
                                  tested.engine->image().config().vocab_size) {
    return Fail(ErrorCode::kMismatch, "the two models have vocabularies of {} and {} tokens",
                tested.engine->image().config().vocab_size,
                reference->engine->image().config().vocab_size);
  }
  ETCH_ASSIGN_OR_RETURN(const std::unique_ptr<engine::Session> session,
                        NewSession(tested, window.size()));
  std::unique_ptr<engine::Session> reference_session;
  if (reference != nullptr) {
    ETCH_ASSIGN_OR_RETURN(reference_session, NewSession(*reference, window.size()));
  }
  Score score;
  const std::span<const TokenId> inputs = window.first(window.size() - 1);
  for (size_t begin = 0; begin < inputs.size(); begin += kChunk) {
    const auto chunk =
        inputs.subspan(begin, std::min(static_cast<size_t>(kChunk), inputs.size() - begin));
    const engine::Step step{session.get(), chunk, engine::LogitsWanted::kAll};
    ETCH_TRY(tested.engine->Forward({&step, 1}));
    if (reference != nullptr) {
      const engine::Step reference_step{reference_session.get(), chunk, engine::LogitsWanted::kAll};
      ETCH_TRY(reference->engine->Forward({&reference_step, 1}));
    }
    for (size_t row = 0; row < chunk.size(); ++row) {
      std::span<const int32_t> reference_logits;
      if (reference != nullptr) {
        reference_logits = reference_session->logits(static_cast<int64_t>(row));
      }
      ScoreRow(session->logits(static_cast<int64_t>(row)),
               reference != nullptr ? &reference_logits : nullptr, window[begin + row + 1], score);
    }
  }
  return score;
}

Result<Score> ScoreWindows(const Subject& tested, const Subject* reference,
                           std::span<const std::vector<TokenId>> windows,
                           const ProgressFn& progress) {
  int64_t total = 0;
  for (const std::vector<TokenId>& window : windows) {
    total += std::ssize(window) - 1;
  }
  Score score;
  for (const std::vector<TokenId>& window : windows) {
    if (progress && !progress({"scoring", score.tokens, total, "tokens"})) {
      return Fail(ErrorCode::kCancelled, "interrupted after {} of {} tokens", score.tokens, total);
    }
    ETCH_ASSIGN_OR_RETURN(const Score part, ScoreWindow(tested, reference, window));
    score.Add(part);
  }
  return score;
}

}  // namespace etch::eval
