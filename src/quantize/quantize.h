#pragma once

// From float matrices to W3, W6 and W4F: scale search weighted by the importance of the inputs. The
// seam for deeper methods (error feedback, trained scales) is QuantizeMatrix: anything that fills
// RowGroups can stand behind it.

#include <cstdint>
#include <span>
#include <vector>

#include "base/error.h"
#include "base/thread_pool.h"
#include "model/tensors.h"
#include "numerics/weights.h"

namespace etch::quantize {

struct QuantizedMatrix {
  std::vector<std::byte> data;  // numerics::WeightBytes(format, rows, cols)
  double error = 0.0;           // Σ importance · (w − ŵ)²
  double energy = 0.0;          // Σ importance · w²; importance scaled to mean 1 in both
};

// error / energy, 0 for a matrix of zeros.
double RelativeError(double error, double energy);

// weights: (rows, cols), finite. importance: mean square of each input channel (cols values), or
// empty for flat. Deterministic, for any number of threads. Rows are independent: a matrix may be
// done in parts of whole tiles (multiples of 16 rows), and their data joined.
QuantizedMatrix QuantizeMatrix(std::span<const float> weights, model::Shape shape,
                               numerics::WeightFormat format, std::span<const float> importance,
                               const numerics::LevelTables& levels, ThreadPool& pool);

// The relative error that QuantizeMatrix would reach, from `sample_rows` evenly spaced rows.
double EstimateError(std::span<const float> weights, model::Shape shape,
                     numerics::WeightFormat format, std::span<const float> importance,
                     const numerics::LevelTables& levels, int64_t sample_rows);

}  // namespace etch::quantize
