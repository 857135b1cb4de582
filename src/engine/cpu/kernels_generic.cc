// The kernels in plain C++, for any processor. A group of a tile (16 rows by 32 columns) is
// unpacked once into 16-bit levels in the order of the tile's lanes, then multiplied with every
// input, so the unpacking is shared by a batch. The inner loops have fixed lengths and no branches,
// which lets the compiler use whatever vectors the build allows.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>

#include "engine/cpu/attend_parts.h"
#include "engine/cpu/block_shift-inl.h"
#include "engine/cpu/kernels.h"
#include "model/config.h"
#include "numerics/fixed_point.h"
#include "numerics/linear.h"
#include "numerics/norm.h"
#include "numerics/rope.h"

namespace etch::engine {
namespace {

#include "engine/cpu/vector_ops-inl.h"

using numerics::ActivationFormat;
using numerics::kGroup;
using numerics::kTileRows;
using numerics::WeightFormat;
using numerics::WeightView;

constexpr size_t kLanes = 64;   // bytes of a vector: 16 rows times 4 columns
constexpr size_t kVectors = 8;  // of a group
constexpr auto kRows = static_cast<size_t>(kTileRows);

// Levels of one group, (vector, lane), the scale of each row and the halvings that follow it.
struct GroupLevels {
  std::array<std::array<int16_t, kLanes>, kVectors> levels;
  std::array<int32_t, kRows> scales;
  std::array<int32_t, kRows> halvings;  // W4F
};

const uint8_t* Raw(const std::byte* bytes) { return reinterpret_cast<const uint8_t*>(bytes); }

void UnpackW3(const WeightView& view, const uint8_t* params, const uint8_t* codes,
              GroupLevels& out) {
  uint16_t table_bits = 0;
  uint16_t scale_bits = 0;
  std::memcpy(&table_bits, params, 2);
  std::memcpy(&scale_bits, params + 2, 2);
  std::array<int8_t, 16> both;  // the two tables, one after the other
  std::memcpy(both.data(), view.levels->levels[0].data(), 8);
  std::memcpy(both.data() + 8, view.levels->levels[1].data(), 8);
  std::array<uint8_t, kLanes> table;  // 8 where the lane's row uses the second table
  for (size_t row = 0; row < kRows; ++row) {
    const int nibble = (params[4 + row % 8] >> (row < 8 ? 0 : 4)) & 15;
    out.scales[row] = (nibble | (((scale_bits >> row) & 1) << 4)) - 16;
    std::memset(table.data() + 4 * row, ((table_bits >> row) & 1) << 3, 4);
  }
  const uint8_t* plane0 = codes;
  const uint8_t* plane1 = codes + 64;
  const uint8_t* plane2 = codes + 128;
  for (size_t lane = 0; lane < kLanes; ++lane) {
    const int high = table[lane];
    const int p0 = plane0[lane];
    const int p1 = plane1[lane];
    const int p2 = plane2[lane];
    const auto level = [&](int code) { return both[static_cast<size_t>(code | high)]; };
    out.levels[0][lane] = level(p0 & 7);
    out.levels[1][lane] = level((p0 >> 3) & 7);
    out.levels[2][lane] = level(p1 & 7);
    out.levels[3][lane] = level((p1 >> 3) & 7);
    out.levels[4][lane] = level(p2 & 7);
    out.levels[5][lane] = level((p2 >> 3) & 7);
    out.levels[6][lane] = level((p0 >> 6) | ((p2 >> 4) & 4));
    out.levels[7][lane] = level((p1 >> 6) | ((p2 >> 5) & 4));
  }
}

void UnpackW6(const uint8_t* params, const uint8_t* codes, GroupLevels& out) {
  for (size_t row = 0; row < kRows; ++row) {
    const int nibble = (params[row % 8] >> (row < 8 ? 0 : 4)) & 15;
    const int high = (params[8 + row % 4] >> (2 * (row / 4))) & 3;
    out.scales[row] = nibble | (high << 4);
  }
  for (size_t vector = 0; vector < kVectors; ++vector) {
    const uint8_t* low = codes + vector % 4 * kLanes;
    const uint8_t* high = codes + 256 + vector / 4 * kLanes;
    const int low_shift = vector < 4 ? 0 : 4;
    const int high_shift = static_cast<int>(2 * (vector % 4));
    for (size_t lane = 0; lane < kLanes; ++lane) {
      const int code = ((low[lane] >> low_shift) & 15) | (((high[lane] >> high_shift) & 3) << 4);
      out.levels[vector][lane] = static_cast<int16_t>(code - 32);
    }
  }
}

void UnpackW8(const uint8_t* codes, GroupLevels& out) {
  out.scales.fill(1);
  for (size_t vector = 0; vector < kVectors; ++vector) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      out.levels[vector][lane] = static_cast<int8_t>(codes[vector * kLanes + lane]);
    }
  }
}

// The codes of one group of one column, as 16-bit integers.
using Codes = std::array<int16_t, kGroup>;
Codes CodesOf(const std::byte* record, ActivationFormat format) {
  Codes codes;
  const auto* low = reinterpret_cast<const int8_t*>(record);
  for (size_t index = 0; index < codes.size(); ++index) {
    codes[index] = format == ActivationFormat::kA8
                       ? low[index]
                       : static_cast<int16_t>(256 * low[kGroup + index] + low[index]);
  }
  return codes;
}

// The scale is the factor of the guard bits.
void UnpackW4F(const uint8_t* params, const uint8_t* codes, GroupLevels& out) {
  out.scales.fill(1 << numerics::GuardBits(WeightFormat::kW4F));
  for (size_t row = 0; row < kRows; ++row) {
    out.halvings[row] = (params[row % 8] >> (row < 8 ? 0 : 4)) & 15;
  }
  for (size_t vector = 0; vector < kVectors; ++vector) {
    const uint8_t* plane = codes + vector % 4 * kLanes;
    const int shift = vector < 4 ? 0 : 4;
    for (size_t lane = 0; lane < kLanes; ++lane) {
      out.levels[vector][lane] = numerics::kFloatLevels[(plane[lane] >> shift) & 15];
    }
  }
}

// P · scale of the sixteen rows of the tile.
std::array<int32_t, kRows> ScaledProducts(const GroupLevels& group, const Codes& codes) {
  std::array<int32_t, kRows> products{};
  for (size_t vector = 0; vector < kVectors; ++vector) {
    const int16_t* levels = group.levels[vector].data();
    const int16_t* inputs = codes.data() + 4 * vector;
    for (size_t row = 0; row < kRows; ++row) {
      products[row] += levels[4 * row] * inputs[0] + levels[4 * row + 1] * inputs[1] +
                       levels[4 * row + 2] * inputs[2] + levels[4 * row + 3] * inputs[3];
    }
  }
  for (size_t row = 0; row < kRows; ++row) {
    products[row] *= group.scales[row];
  }
  return products;
}

// acc[row] += round(S / 2^shift) for the sixteen rows of the tile.
void AccumulateGroup(const GroupLevels& group, const Codes& codes, int shift,
                     std::array<int32_t, kRows>& acc) {
  const std::array<int32_t, kRows> sums = ScaledProducts(group, codes);
  const int32_t half = shift == 0 ? 0 : 1 << (shift - 1);
  for (size_t row = 0; row < kRows; ++row) {
    acc[row] += (sums[row] + half) >> shift;
  }
}

// The same for W4F, where each row has halvings of its own: slower without a vector shift by lane.
// Shifts above 31 give 0, as 31 does (contract §14).
void AccumulateHalved(const GroupLevels& group, const Codes& codes, int shift,
                      std::array<int32_t, kRows>& acc) {
  const std::array<int32_t, kRows> sums = ScaledProducts(group, codes);
  for (size_t row = 0; row < kRows; ++row) {
    const int places = std::min(shift + group.halvings[row], 31);
    const auto half = static_cast<int32_t>((uint32_t{1} << places) >> 1);
    acc[row] += (sums[row] + half) >> places;
  }
}

void MultiplyTile(const WeightView& view, const InputPanel& inputs, int64_t block, int64_t tile,
                  int32_t* out, int64_t out_stride) {
  const std::byte* header = view.data + tile * numerics::TileBytes(view.format, view.cols);
  const uint8_t* params = Raw(header + numerics::kTileHeaderBytes);
  const uint8_t* codes = params + numerics::ParamBytes(view.format, view.cols);
  const int result_shift = numerics::ResultShift(view.format, inputs.format());
  const int weight_base = numerics::BaseShift(view.format, ActivationFormat::kA8);
  const int64_t columns = inputs.BlockWidth(block);
  const std::byte* record = inputs.Block(block);
  std::array<std::array<int32_t, kRows>, kBlockColumns> acc{};
  GroupLevels levels;
  const auto accumulate = view.format == WeightFormat::kW4F ? AccumulateHalved : AccumulateGroup;
  for (int64_t group = 0; group < numerics::GroupCount(view.cols); ++group) {
    if (view.format == WeightFormat::kW3) {
      UnpackW3(view, params, codes, levels);
    } else if (view.format == WeightFormat::kW6) {
      UnpackW6(params, codes, levels);
    } else if (view.format == WeightFormat::kW4F) {
      UnpackW4F(params, codes, levels);
    } else {
      UnpackW8(codes, levels);
    }
    params += numerics::GroupParamBytes(view.format);
    codes += numerics::GroupCodeBytes(view.format);
    for (int64_t column = 0; column < columns; ++column) {
      GroupTerms terms;
      std::memcpy(&terms, record + inputs.record_bytes() - sizeof terms, sizeof terms);
      accumulate(levels, CodesOf(record, inputs.format()), weight_base + terms.shift,
                 acc[static_cast<size_t>(column)]);
      record += inputs.record_bytes();
    }
  }
  for (int64_t row = tile * kTileRows; row < std::min((tile + 1) * kTileRows, view.rows); ++row) {
    const numerics::Scale16 scale = numerics::RowScale(view, row);
    for (int64_t column = 0; column < columns; ++column) {
      const int64_t at = block * kBlockColumns + column;
      out[at * out_stride + row] = numerics::FinishRow(
          acc[static_cast<size_t>(column)][static_cast<size_t>(row % kTileRows)], scale,
          inputs.max_shift(at), inputs.point(), result_shift);
    }
  }
}

void Multiply(const WeightView& weights, const InputPanel& inputs, int64_t tile_begin,
              int64_t tile_end, int32_t* out, int64_t out_stride) {
  for (int64_t block = 0; block < inputs.blocks(); ++block) {
    for (int64_t tile = tile_begin; tile < tile_end; ++tile) {
      MultiplyTile(weights, inputs, block, tile, out, out_stride);
    }
  }
}

}  // namespace

const KernelSet kGenericKernels = {
    .isa = "generic",
    .multiply = Multiply,
    .quantize = Quantize,
    .quantize_products = QuantizeProducts,
    .norm = Norm,
    .swiglu = SwiGlu,
    .rotate = Rotate,
    .quantize_head = QuantizeHead,
    .add = Add,
    .multiply_add = MultiplyAdd<Multiply>,
    .attend = AttendPlainly,
};

}  // namespace etch::engine
