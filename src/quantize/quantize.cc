// Whole matrices: every row on its own (RowSearch), packed into tiles of sixteen. Tiles go to
// threads as they come; each row's error has a place of its own, so sums are the same for any
// number of threads.

#include "quantize/quantize.h"

#include <algorithm>

#include "quantize/row_search.h"

namespace etch::quantize {
namespace {

using numerics::WeightFormat;

struct RowError {
  double error = 0.0;
  double energy = 0.0;
};

RowError Sum(std::span<const RowError> rows) {
  RowError total;
  for (const RowError& row : rows) {
    total.error += row.error;
    total.energy += row.energy;
  }
  return total;
}

std::span<const float> RowOf(std::span<const float> weights, int64_t row, int64_t cols) {
  return weights.subspan(static_cast<size_t>(row * cols), static_cast<size_t>(cols));
}

}  // namespace

double RelativeError(double error, double energy) { return energy > 0.0 ? error / energy : 0.0; }

QuantizedMatrix QuantizeMatrix(std::span<const float> weights, model::Shape shape,
                               WeightFormat format, std::span<const float> importance,
                               const numerics::LevelTables& levels, ThreadPool& pool) {
  ETCH_CHECK(static_cast<int64_t>(weights.size()) == shape.size());
  QuantizedMatrix result;
  result.data.resize(static_cast<size_t>(numerics::WeightBytes(format, shape.rows, shape.cols)));
  std::vector<RowError> errors(static_cast<size_t>(shape.rows));
  const auto tile_bytes = static_cast<size_t>(numerics::TileBytes(format, shape.cols));
  const auto quantize_tiles = [&](int64_t begin, int64_t end) {
    RowSearch search(format, levels, shape.cols, importance);
    for (int64_t row = begin * numerics::kTileRows;
         row < std::min(end * numerics::kTileRows, shape.rows); ++row) {
      const RowCodes& codes = search.Quantize(RowOf(weights, row, shape.cols));
      errors[static_cast<size_t>(row)] = {codes.error, codes.energy};
      const int64_t row_in_tile = row % numerics::kTileRows;
      const auto tile =
          std::span(result.data)
              .subspan(static_cast<size_t>(row / numerics::kTileRows) * tile_bytes, tile_bytes);
      numerics::PackRowScale(tile, row_in_tile, codes.scale);
      for (size_t group = 0; group < codes.groups.size(); ++group) {
        numerics::PackGroup(format, shape.cols, tile, row_in_tile, static_cast<int64_t>(group),
                            codes.groups[group]);
      }
    }
  };
  pool.ParallelFor(numerics::TileCount(shape.rows), 4, quantize_tiles);
  const RowError total = Sum(errors);
  result.error = total.error;
  result.energy = total.energy;
  return result;
}

double EstimateError(std::span<const float> weights, model::Shape shape, WeightFormat format,
                     std::span<const float> importance, const numerics::LevelTables& levels,
                     int64_t sample_rows) {
  ETCH_CHECK(static_cast<int64_t>(weights.size()) == shape.size());
  const int64_t count = std::min(std::max<int64_t>(sample_rows, 1), shape.rows);
  std::vector<RowError> errors;
  RowSearch search(format, levels, shape.cols, importance);
  for (int64_t sample = 0; sample < count; ++sample) {
    // The middles of `count` equal parts.
    const int64_t row = (2 * sample + 1) * shape.rows / (2 * count);
    const RowCodes& codes = search.Quantize(RowOf(weights, row, shape.cols));
    errors.push_back({codes.error, codes.energy});
  }
  const RowError total = Sum(errors);
  return RelativeError(total.error, total.energy);
}

}  // namespace etch::quantize
