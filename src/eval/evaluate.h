#pragma once

// How well a model predicts a text, and how far it lies from another one: negative log-likelihood,
// perplexity, Kullback-Leibler divergence and agreement of the most likely token.

#include <cstdint>
#include <span>
#include <vector>

#include "base/error.h"
#include "base/progress.h"
#include "engine/engine.h"

namespace etch::eval {

struct Score {
  int64_t tokens = 0;    // predicted tokens
  double nll_sum = 0.0;  // nats
  double kl_sum = 0.0;   // Σ KL(reference ‖ tested), nats; 0 without a reference
  double kl_max = 0.0;
  int64_t same_top = 0;  // positions where both have the same most likely token
  int64_t compared = 0;  // positions compared with the reference

  double nll() const { return tokens > 0 ? nll_sum / static_cast<double>(tokens) : 0.0; }
  double kl() const { return compared > 0 ? kl_sum / static_cast<double>(compared) : 0.0; }
  double perplexity() const;
  double same_top_share() const;
  void Add(const Score& other);
};

// Cuts a text's tokens into disjoint windows of at most `window` tokens, each starting with `bos`
// when there is one.
std::vector<std::vector<engine::TokenId>> CutWindows(std::span<const engine::TokenId> tokens,
                                                     engine::TokenId bos, int64_t window);

// One side of a comparison.
struct Subject {
  engine::Engine* engine = nullptr;
  std::vector<engine::ActiveAdapter> adapters;
};

// Predicts tokens 1 … n-1 of one window from those before. `reference` may be null. The engines
// must agree on the vocabulary (kMismatch).
Result<Score> ScoreWindow(const Subject& tested, const Subject* reference,
                          std::span<const engine::TokenId> window);

// All windows, with progress in tokens.
Result<Score> ScoreWindows(const Subject& tested, const Subject* reference,
                           std::span<const std::vector<engine::TokenId>> windows,
                           const ProgressFn& progress);

}  // namespace etch::eval
