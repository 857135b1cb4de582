// Lowering: A and B become W8 matrices that the integer backends run like any other.
//
// Between A and B lies u = A·x, an I32 with 16 fraction bits that is then quantised to A8 with one
// exponent for 32 ranks. A trained A may be a thousand times smaller than B, or the reverse, and
// its rows differ: taken as they are, u would drown in the fixed point (A of 1e-5 leaves no bits)
// or a loud rank would take the bits of the others. The product does not change when row k of A is
// multiplied by 2^s and column k of B divided by it, so s is chosen to make the norm of each row of
// A lie in [8, 16):
//
//   above    |u| ≤ |A_k|·|x| < 16·|x|, below the 2^15 that I32 holds while |x| ≤ 2048: an input of
//            4096 values of size 32 that all point along the row
//   below    an x of 4096 values of size 2^-9 (norm 1/8) gives u of about 16/64·1/8 = 2^-5, eleven
//            bits over the point, of which A8 takes seven
//
// Equal rows of A also make the columns of B carry the true weight of their rank, so that the row
// scale of B rounds each rank in proportion to what it adds. Powers of two keep the choice exact;
// scalings are folded into B in double precision before it is rounded once. A per-rank choice by
// singular values of B·A was not taken: it changes the adapter that the user shipped.
//
// A row: scale = max |row| / 127 as a Scale16, codes rounded to nearest and clamped. Ranks are
// padded with zeros to a multiple of 32, one group of W8 columns.

#include <algorithm>
#include <cmath>
#include <optional>

#include "adapter/adapter.h"
#include "adapter/pairs.h"

namespace etch::adapter {
namespace {

using engine::AdapterLinear;
using numerics::WeightFormat;

constexpr int kNormExponent = 4;  // norms of A's rows lie in [2^3, 2^4)

// A matrix of doubles, row by row.
struct Matrix {
  int64_t rows = 0;
  int64_t cols = 0;
  std::vector<double> values;

  Matrix(int64_t n_rows, int64_t n_cols)
      : rows(n_rows), cols(n_cols), values(static_cast<size_t>(n_rows * n_cols)) {}
  double& At(int64_t row, int64_t col) { return values[static_cast<size_t>(row * cols + col)]; }
  double At(int64_t row, int64_t col) const {
    return values[static_cast<size_t>(row * cols + col)];
  }
};

void PackRow(const Matrix& matrix, int64_t row, std::span<std::byte> tile) {
  double largest = 0.0;
  for (int64_t col = 0; col < matrix.cols; ++col) {
    largest = std::max(largest, std::abs(matrix.At(row, col)));
  }
  const numerics::Scale16 scale16 = numerics::ToScale16(largest / 127.0);
  const double scale = numerics::FromScale16(scale16);
  if (scale == 0.0) {
    return;
  }
  const int64_t lane = row % numerics::kTileRows;
  numerics::PackRowScale(tile, lane, scale16);
  for (int64_t group = 0; group < numerics::GroupCount(matrix.cols); ++group) {
    numerics::RowGroup packed;
    const int64_t begin = group * numerics::kGroup;
    const int64_t count = std::min(numerics::kGroup, matrix.cols - begin);
    for (int64_t col = 0; col < count; ++col) {
      const double code = std::round(matrix.At(row, begin + col) / scale);
      packed.codes[static_cast<size_t>(col)] = static_cast<int8_t>(std::clamp(code, -127.0, 127.0));
    }
    numerics::PackGroup(WeightFormat::kW8, matrix.cols, tile, lane, group, packed);
  }
}

std::vector<std::byte> PackW8(const Matrix& matrix) {
  std::vector<std::byte> packed(
      static_cast<size_t>(numerics::WeightBytes(WeightFormat::kW8, matrix.rows, matrix.cols)));
  const auto tile_bytes = static_cast<size_t>(numerics::TileBytes(WeightFormat::kW8, matrix.cols));
  for (int64_t row = 0; row < matrix.rows; ++row) {
    const auto tile = static_cast<size_t>(row / numerics::kTileRows);
    PackRow(matrix, row, std::span(packed).subspan(tile * tile_bytes, tile_bytes));
  }
  return packed;
}

// s of row `rank` of A, or an empty optional for a row of zeros, which adds nothing.
std::optional<int> BalancingShift(std::span<const float> row) {
  double sum = 0.0;
  for (const float value : row) {
    sum += static_cast<double>(value) * static_cast<double>(value);
  }
  if (sum == 0.0) {
    return std::nullopt;
  }
  int exponent = 0;
  std::frexp(std::sqrt(sum), &exponent);  // norm in [2^(exponent-1), 2^exponent)
  return kNormExponent - exponent;
}

Result<AdapterLinear> LowerPair(const LoraPair& pair) {
  AdapterLinear linear;
  linear.rank = pair.rank;
  linear.rank_padded = numerics::GroupCount(pair.rank) * numerics::kGroup;
  Matrix a(linear.rank_padded, pair.cols);
  Matrix b(pair.rows, linear.rank_padded);
  linear.a_float = pair.a;
  linear.b_float.resize(pair.b.size());
  for (size_t index = 0; index < pair.b.size(); ++index) {
    linear.b_float[index] = static_cast<float>(static_cast<double>(pair.b[index]) * pair.scaling);
    if (!std::isfinite(linear.b_float[index])) {
      return Fail(ErrorCode::kMalformed, "tensor \"{}\" times the scaling {} overflows",
                  pair.b_name, pair.scaling);
    }
  }
  for (int64_t rank = 0; rank < pair.rank; ++rank) {
    const auto row = std::span(pair.a).subspan(static_cast<size_t>(rank * pair.cols),
                                               static_cast<size_t>(pair.cols));
    const std::optional<int> shift = BalancingShift(row);
    if (!shift) {
      continue;
    }
    for (int64_t col = 0; col < pair.cols; ++col) {
      a.At(rank, col) = std::ldexp(static_cast<double>(row[static_cast<size_t>(col)]), *shift);
    }
    for (int64_t out = 0; out < pair.rows; ++out) {
      const double value = static_cast<double>(pair.b[static_cast<size_t>(out * pair.rank + rank)]);
      b.At(out, rank) = std::ldexp(value * pair.scaling, -*shift);
    }
  }
  linear.a = PackW8(a);
  linear.b = PackW8(b);
  return linear;
}

}  // namespace

Result<std::shared_ptr<const engine::AdapterWeights>> Lower(const Adapter& adapter,
                                                            const model::Config& config) {
  ETCH_TRY(internal::CheckComplete(adapter, config));
  // Shared, because sessions go on with an adapter after the registry has let go of it.
  auto weights = std::make_shared<engine::AdapterWeights>();
  weights->name = adapter.name;
  weights->n_layers = config.n_layers;
  const auto roles = std::ssize(model::kBlockLinears);
  weights->linears.resize(static_cast<size_t>(config.n_layers * roles));
  for (const LoraPair& pair : adapter.pairs) {
    const auto position =
        std::ranges::find(model::kBlockLinears, pair.role) - model::kBlockLinears.begin();
    ETCH_ASSIGN_OR_RETURN(AdapterLinear linear, LowerPair(pair));
    weights->size_bytes += linear.a.size() + linear.b.size();
    weights->linears[static_cast<size_t>(pair.layer * roles + position)] = std::move(linear);
  }
  return std::shared_ptr<const engine::AdapterWeights>(std::move(weights));
}

}  // namespace etch::adapter
