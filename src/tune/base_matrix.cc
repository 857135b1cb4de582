#include "tune/base_matrix.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "tune/matrix.h"

namespace etch::tune {
namespace {

using numerics::kGroup;
using numerics::kTileRows;

// 16 MiB of floats: what lies unpacked at a time stays near the processor.
constexpr int64_t kPartValues = int64_t{4} << 20;

// A group of W3 is eight possible values: they are computed once and looked up.
void UnpackRow(const numerics::WeightView& view, int64_t row, float* out) {
  if (view.format != numerics::WeightFormat::kW3) {
    numerics::DequantizeRow(view, row, {out, static_cast<size_t>(view.cols)});
    return;
  }
  const double row_scale = numerics::FromScale16(numerics::RowScale(view, row));
  for (int64_t group = 0; group < numerics::GroupCount(view.cols); ++group) {
    const numerics::RowGroup unpacked = numerics::UnpackGroup(view, row, group);
    std::array<float, 8> values;
    for (size_t code = 0; code < values.size(); ++code) {
      const int level = view.levels->levels[unpacked.table][code] * unpacked.scale;
      values[code] = static_cast<float>(level * row_scale);
    }
    const int64_t begin = group * kGroup;
    const int64_t count = std::min(kGroup, view.cols - begin);
    for (int64_t column = 0; column < count; ++column) {
      out[begin + column] =
          values[static_cast<size_t>(unpacked.codes[static_cast<size_t>(column)])];
    }
  }
}

}  // namespace

void UnpackRows(ThreadPool& pool, const numerics::WeightView& view, int64_t begin, int64_t end,
                float* out) {
  pool.ParallelFor(end - begin, kTileRows, [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      UnpackRow(view, begin + row, out + row * view.cols);
    }
  });
}

template <class Body>
void BaseProducts::ForEachPart(const BaseMatrix& matrix, const Body& body) {
  if (matrix.values != nullptr) {
    body(0, matrix.rows, matrix.values);
    return;
  }
  const int64_t tiles = std::max<int64_t>(1, kPartValues / (matrix.cols * kTileRows));
  const int64_t part = std::min(matrix.rows, tiles * kTileRows);
  scratch_.resize(std::max(scratch_.size(), static_cast<size_t>(part * matrix.cols)));
  for (int64_t begin = 0; begin < matrix.rows; begin += part) {
    const int64_t end = std::min(begin + part, matrix.rows);
    UnpackRows(pool_, matrix.packed, begin, end, scratch_.data());
    body(begin, end, scratch_.data());
  }
}

void BaseProducts::Forward(const BaseMatrix& matrix, int64_t tokens, const float* x, float* y) {
  ForEachPart(matrix, [&](int64_t begin, int64_t end, const float* values) {
    Multiply(pool_, tokens, end - begin, matrix.cols, 1.0F, {x, matrix.cols, false},
             {values, matrix.cols, true}, 0.0F, {y + begin, matrix.rows});
  });
}

void BaseProducts::Backward(const BaseMatrix& matrix, int64_t tokens, const float* dy, float keep,
                            float* dx) {
  ForEachPart(matrix, [&](int64_t begin, int64_t end, const float* values) {
    Multiply(pool_, tokens, matrix.cols, end - begin, 1.0F, {dy + begin, matrix.rows, false},
             {values, matrix.cols, false}, begin == 0 ? keep : 1.0F, {dx, matrix.cols});
  });
}

}  // namespace etch::tune
