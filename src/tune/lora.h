#pragma once

// The products of LoRA pairs beside the linear layers: y += scaling · B · A · drop(x).

#include <cstdint>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "model/tensors.h"
#include "tune/trained_model.h"

namespace etch::tune {

class LoraProducts {
 public:
  // Both must outlive this.
  LoraProducts(const TrainedModel& model, ThreadPool& pool) : model_(model), pool_(pool) {}

  // y (tokens, rows) += scaling · drop(x) · Aᵀ · Bᵀ; nothing where the layer has no pair. `noise`
  // chooses what is dropped, 0: nothing.
  void Forward(model::Role role, int64_t layer, uint64_t noise, int64_t tokens, const float* x,
               float* y);
  // From dy: adds to the gradients of A and B and to dx.
  void Backward(model::Role role, int64_t layer, uint64_t noise, int64_t tokens, const float* x,
                const float* dy, float* dx, std::span<float> gradients);

 private:
  // x, or a copy of it in dropped_ with some values zero and the others raised.
  const float* Drop(uint64_t noise, int64_t stream, int64_t count, const float* x);

  const TrainedModel& model_;
  ThreadPool& pool_;
  std::vector<float> dropped_;
  std::vector<float> reduced_;    // (tokens, rank) drop(x) · Aᵀ
  std::vector<float> d_reduced_;  // (tokens, rank)
  std::vector<float> d_dropped_;
};

}  // namespace etch::tune
