#pragma once

// The matrices of a base as training reads them: packed and frozen, unpacked a part at a time into
// scratch memory, or float and trained.

#include <cstdint>
#include <vector>

#include "base/thread_pool.h"
#include "numerics/weights.h"

namespace etch::tune {

struct BaseMatrix {
  int64_t rows = 0;               // outputs
  int64_t cols = 0;               // inputs
  const float* values = nullptr;  // (rows, cols); null: packed
  numerics::WeightView packed;
};

// Rows [begin, end) of a packed matrix as numerics::DequantizeRow gives them, into out (rows,
// cols). `begin` is a multiple of a tile's rows, `end` too or the last row.
void UnpackRows(ThreadPool& pool, const numerics::WeightView& view, int64_t begin, int64_t end,
                float* out);

// Products with a base's matrices. Keeps one scratch for the unpacked part.
class BaseProducts {
 public:
  explicit BaseProducts(ThreadPool& pool) : pool_(pool) {}

  // y (tokens, rows) = x (tokens, cols) · Wᵀ.
  void Forward(const BaseMatrix& matrix, int64_t tokens, const float* x, float* y);
  // dx (tokens, cols) = dy (tokens, rows) · W + keep · dx.
  void Backward(const BaseMatrix& matrix, int64_t tokens, const float* dy, float keep, float* dx);

 private:
  template <class Body>
  void ForEachPart(const BaseMatrix& matrix, const Body& body);

  ThreadPool& pool_;
  std::vector<float> scratch_;
};

}  // namespace etch::tune
