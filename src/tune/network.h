#pragma once

// The forward and backward pass of a Llama model in float, for training: sequences end to end, the
// loss of the positions that have a target, and its gradient for whatever TrainedModel trains. The
// definition of the forward pass is numerics/twin.h; tests hold this to it.

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "model/vocabulary.h"
#include "tune/attention.h"
#include "tune/trained_model.h"

namespace etch::tune {

using model::TokenId;

// Sequences end to end. Positions restart in every segment.
struct Batch {
  std::vector<TokenId> tokens;
  std::vector<TokenId> targets;   // the token that follows, or kNoToken where nothing is learnt
  std::vector<Segment> segments;  // one behind the other, together all tokens

  int64_t size() const { return static_cast<int64_t>(tokens.size()); }
  int64_t target_count() const;
};

struct PassOptions {
  // Keep only what enters each block and compute the rest again in the backward pass: a third more
  // work, a small part of the memory, the same bits.
  bool recompute = false;
  // Dropout draws from this; different for every pass.
  uint64_t noise = 0;
  bool dropout = false;  // off when a loss is only measured
  // Asked between layers; true gives the pass up, whose loss and gradient are then worth nothing.
  const std::function<bool()>* interrupted = nullptr;
};

class Network {
 public:
  // `model` and `pool` must outlive the network; the model's values may change between passes.
  Network(const TrainedModel& model, ThreadPool& pool);
  ~Network();

  // Σ of -ln p(target) over the positions that have one.
  double Loss(const Batch& batch, const PassOptions& options = {});
  // The same, and adds its gradient to `gradients` (as long as the parameters).
  double LossAndGradient(const Batch& batch, const PassOptions& options,
                         std::span<float> gradients);

  // Logits of every position, (tokens, vocab_size). For comparisons.
  std::vector<float> Logits(const Batch& batch);

  // Bytes that a pass over `tokens` tokens with `targets` targets takes beside the model and the
  // parameters.
  static int64_t PassBytes(const model::Config& config, int64_t tokens, int64_t targets,
                           bool recompute);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace etch::tune
