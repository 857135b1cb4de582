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

#include <xxhash.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <optional>

#include "adapter/adapter.h"
#include "adapter/pairs.h"

namespace etch::adapter {
namespace {

using engine::AdapterLinear;
using numerics::WeightFormat;

constexpr int kNormExponent = 4;  // norms of A's rows lie in [2^3, 2^4)

// The functions below are written so that the compiler makes vectors of their loops: a running
// maximum of floating-point numbers would be taken one after the other.

// Rounds value / scale half away from zero, for scale > 0. With the number before one half, the one
// below one half goes to 0 and one half to 1.
int32_t ToCode(double value, double scale) {
  const double quotient = value / scale;
  return static_cast<int32_t>(quotient + std::copysign(0x1.fffffffffffffp-2, quotient));
}

// The largest magnitude of finite floats, which is in the order of their bits.
float LargestMagnitude(std::span<const float> values) {
  int32_t largest = 0;
  for (const float value : values) {
    largest = std::max(largest, std::bit_cast<int32_t>(value) & 0x7FFFFFFF);
  }
  return std::bit_cast<float>(largest);
}

double LargestMagnitude(std::span<const double> values) {
  std::array<double, 4> largest = {};
  size_t index = 0;
  for (; index + 4 <= values.size(); index += 4) {
    for (size_t lane = 0; lane < 4; ++lane) {
      largest[lane] = std::max(largest[lane], std::abs(values[index + lane]));
    }
  }
  for (; index < values.size(); ++index) {
    largest[0] = std::max(largest[0], std::abs(values[index]));
  }
  return std::max(std::max(largest[0], largest[1]), std::max(largest[2], largest[3]));
}

// Below it a Scale16 is the quotient to 16 bits, so that no code passes 127.
constexpr double kLargestScale = 0x1p100;

struct RowScale {
  numerics::Scale16 scale16;
  double value = 0.0;
};

// numerics::ToScale16 and back. An adapter at the Llama 3.1 8B shape has 1.4 million rows, so the
// usual case is done on the bits: the fraction rounded half up to sixteen of them.
RowScale ToRowScale(double magnitude) {
  if (!(magnitude >= 0x1p-100 && magnitude < kLargestScale)) {
    const numerics::Scale16 scale16 = numerics::ToScale16(magnitude);
    return {scale16, numerics::FromScale16(scale16)};
  }
  constexpr int kDropped = 37;  // of the 53 bits of a double's fraction
  const auto bits = std::bit_cast<uint64_t>(magnitude);
  const uint64_t fraction = (bits & ((uint64_t{1} << 52) - 1)) | uint64_t{1} << 52;
  uint64_t mantissa = (fraction + (uint64_t{1} << (kDropped - 1))) >> kDropped;
  int exponent = static_cast<int>(bits >> 52) - 1022 - 16;
  if (mantissa == uint64_t{1} << 16) {
    mantissa >>= 1;
    ++exponent;
  }
  const auto power = std::bit_cast<double>(static_cast<uint64_t>(exponent + 1023) << 52);
  return {{static_cast<uint16_t>(mantissa), static_cast<int8_t>(exponent)},
          static_cast<double>(mantissa) * power};
}

// A zeroed W8 matrix whose rows are packed one by one, each once.
class W8Matrix {
 public:
  // `packed` is where the matrix goes; its memory may be reserved.
  W8Matrix(int64_t rows, int64_t cols, engine::StreamedBytes& packed)
      : tile_bytes_(numerics::TileBytes(WeightFormat::kW8, cols)), packed_(packed) {
    packed_.resize(static_cast<size_t>(numerics::WeightBytes(WeightFormat::kW8, rows, cols)));
  }

  // The first values of `row`, of which `largest` is the largest magnitude; the rest of it is zero.
  void PackRow(int64_t row, std::span<const double> values, double largest) {
    const auto [scale16, scale] = ToRowScale(largest / 127.0);
    if (scale == 0.0) {
      return;
    }
    const int64_t lane = row % numerics::kTileRows;
    const auto tile =
        std::span(packed_).subspan(static_cast<size_t>(row / numerics::kTileRows * tile_bytes_),
                                   static_cast<size_t>(tile_bytes_));
    numerics::PackRowScale(tile, lane, scale16);
    levels_.resize(values.size());
    if (scale < kLargestScale) {
      for (size_t index = 0; index < values.size(); ++index) {
        levels_[index] = ToCode(values[index], scale);
      }
    } else {  // the scale may have been cut off at its largest
      for (size_t index = 0; index < values.size(); ++index) {
        levels_[index] = ToCode(std::clamp(values[index], -127.0 * scale, 127.0 * scale), scale);
      }
    }
    codes_.resize((values.size() + 3) / 4 * 4);
    for (size_t index = 0; index < values.size(); ++index) {
      codes_[index] = static_cast<int8_t>(levels_[index]);
    }
    // numerics/weights.h: four columns of a row stand together, 64 bytes from the next four.
    std::byte* out = tile.data() + numerics::kTileHeaderBytes + 4 * lane;
    for (size_t index = 0; index < codes_.size(); index += 4) {
      std::memcpy(out + index * 16, &codes_[index], 4);
    }
  }

 private:
  int64_t tile_bytes_;
  engine::StreamedBytes& packed_;
  std::vector<int32_t> levels_;  // of the present row; memory is kept
  std::vector<int8_t> codes_;
};

// s of row `rank` of A, or an empty optional for a row of zeros, which adds nothing.
std::optional<int> BalancingShift(std::span<const float> row) {
  std::array<double, 4> sums = {};
  size_t index = 0;
  const auto square = [&row](size_t at) {
    const auto value = static_cast<double>(row[at]);
    return value * value;
  };
  for (; index + 4 <= row.size(); index += 4) {
    for (size_t lane = 0; lane < 4; ++lane) {
      sums[lane] += square(index + lane);
    }
  }
  for (; index < row.size(); ++index) {
    sums[0] += square(index);
  }
  const double sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  if (sum == 0.0) {
    return std::nullopt;
  }
  int exponent = 0;
  std::frexp(std::sqrt(sum), &exponent);  // norm in [2^(exponent-1), 2^exponent)
  return kNormExponent - exponent;
}

// One decoded pair as the backends run it, into the layer's place.
Status LowerPair(const LoraPair& pair, bool keep_floats, AdapterLinear& linear) {
  // Of 2^s and 2^-s times the scaling; zero for a row of zeros. A product with a power of two is
  // exact.
  std::vector<double> factors(static_cast<size_t>(pair.rank));
  W8Matrix a(pair.rank, pair.cols, linear.a);
  std::vector<double> values(static_cast<size_t>(std::max(pair.cols, pair.rank)));
  for (int64_t rank = 0; rank < pair.rank; ++rank) {
    const auto row = std::span(pair.a).subspan(static_cast<size_t>(rank * pair.cols),
                                               static_cast<size_t>(pair.cols));
    const std::optional<int> shift = BalancingShift(row);
    if (!shift) {
      continue;
    }
    factors[static_cast<size_t>(rank)] = std::ldexp(1.0, -*shift);
    const double factor = std::ldexp(1.0, *shift);
    for (size_t col = 0; col < row.size(); ++col) {
      values[col] = static_cast<double>(row[col]) * factor;
    }
    a.PackRow(rank, std::span(values).first(row.size()),
              static_cast<double>(LargestMagnitude(row)) * factor);
  }
  W8Matrix b(pair.rows, pair.rank, linear.b);
  const auto ranks = static_cast<size_t>(pair.rank);
  for (int64_t out = 0; out < pair.rows; ++out) {
    const float* row = pair.b.data() + static_cast<size_t>(out) * ranks;
    for (size_t rank = 0; rank < ranks; ++rank) {
      const double scaled = static_cast<double>(row[rank]) * pair.scaling;
      values[rank] = scaled * factors[rank];
    }
    const auto packed = std::span<const double>(values).first(ranks);
    b.PackRow(out, packed, LargestMagnitude(packed));
  }
  const double largest = static_cast<double>(LargestMagnitude(pair.b)) * pair.scaling;
  if (!std::isfinite(static_cast<float>(largest))) {
    return Fail(ErrorCode::kMalformed, "tensor \"{}\" times the scaling {} overflows", pair.b_name,
                pair.scaling);
  }
  if (keep_floats) {
    linear.a_float = pair.a;
    linear.b_float.resize(pair.b.size());
    for (size_t index = 0; index < pair.b.size(); ++index) {
      linear.b_float[index] = static_cast<float>(static_cast<double>(pair.b[index]) * pair.scaling);
    }
  }
  return {};
}

}  // namespace

internal::Lowering::Lowering(std::string name, std::span<const Place> places,
                             const model::Config& config)
    // Shared, because sessions go on with an adapter after the registry has let go of it.
    : weights_(std::make_shared<engine::AdapterWeights>()) {
  weights_->name = std::move(name);
  weights_->Reset(config);
  for (const Place& place : places) {
    AdapterLinear& linear = weights_->Linear(place.layer, place.role);
    linear.rank = place.rank;
    lowered_.push_back({static_cast<size_t>(&linear - weights_->linears.data()), {}});
  }
  weights_->Reserve(config);
}

Status internal::Lowering::Lower(size_t index, const LoraPair& pair, bool keep_floats) {
  Lowered& lowered = lowered_[index];
  AdapterLinear& linear = weights_->linears[lowered.linear];
  ETCH_TRY(LowerPair(pair, keep_floats, linear));
  const auto a = XXH3_128bits(linear.a.data(), linear.a.size());
  const auto b = XXH3_128bits_withSeed(linear.b.data(), linear.b.size(), a.low64);
  lowered.hash = {b.low64 ^ a.high64, b.high64};
  return {};
}

std::shared_ptr<const engine::AdapterWeights> internal::Lowering::Finish() {
  std::vector<uint64_t> hashes;
  for (const Lowered& lowered : lowered_) {
    const AdapterLinear& linear = weights_->linears[lowered.linear];
    hashes.insert(hashes.end(), {lowered.linear, static_cast<uint64_t>(linear.rank),
                                 lowered.hash[0], lowered.hash[1]});
    weights_->size_bytes += linear.a.size() + linear.b.size();
  }
  const auto identity = XXH3_128bits(hashes.data(), hashes.size() * sizeof(uint64_t));
  weights_->identity = {identity.low64, identity.high64 | 1};
  return std::move(weights_);
}

Result<std::shared_ptr<const engine::AdapterWeights>> Lower(const Adapter& adapter,
                                                            const model::Config& config) {
  ETCH_TRY(internal::CheckComplete(adapter, config));
  std::vector<internal::Lowering::Place> places;
  for (const LoraPair& pair : adapter.pairs) {
    places.push_back({pair.role, pair.layer, pair.rank});
  }
  internal::Lowering lowering(adapter.name, places, config);
  for (size_t index = 0; index < places.size(); ++index) {
    ETCH_TRY(lowering.Lower(index, adapter.pairs[index], /*keep_floats=*/true));
  }
  return lowering.Finish();
}

}  // namespace etch::adapter
