#pragma once

// The weights that an export is of: an image's, dequantised, with adapters merged in.

#include <cstdint>
#include <span>
#include <vector>

#include "base/error.h"
#include "base/thread_pool.h"
#include "engine/adapter_weights.h"
#include "image/image.h"
#include "model/tensors.h"

namespace etch::exporting {

// W + Σ weight · B · A in float, for every tensor of the model. The delta is summed in float over
// the ranks in order and then added, never rounded to the base's formats, so the bits do not depend
// on threads. Safe to read from any thread; copies are cheap.
class MergedWeights {
 public:
  // `image` outlives it. kMismatch for an adapter that was lowered for another model.
  static Result<MergedWeights> Create(const image::Image& image,
                                      std::vector<engine::ActiveAdapter> adapters);

  const image::Image& image() const { return *image_; }
  // True when an adapter changes this tensor.
  bool IsAdapted(model::Role role, int64_t layer) const;
  // Row `row` of a matrix, or a norm's gains (row 0), into TensorShape().cols values.
  void ReadRow(model::Role role, int64_t layer, int64_t row, std::span<float> out) const;
  // A whole tensor, row by row.
  void Read(model::Role role, int64_t layer, ThreadPool& pool, std::span<float> out) const;

 private:
  MergedWeights(const image::Image& image, std::vector<engine::ActiveAdapter> adapters)
      : image_(&image), adapters_(std::move(adapters)) {}

  const image::Image* image_;
  std::vector<engine::ActiveAdapter> adapters_;
};

// A tensor of a model.
struct TensorId {
  model::Role role;
  int64_t layer = 0;
};
// Every tensor, in the order of the forward pass; a tied head once.
std::vector<TensorId> TensorsOf(const model::Config& config);

}  // namespace etch::exporting
