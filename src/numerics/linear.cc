#include "numerics/linear.h"

#include "base/error.h"

namespace etch::numerics {

int32_t AccumulateRow(const WeightView& weights, int64_t row, const Activation& input) {
  ETCH_DCHECK(input.blocks() == GroupCount(weights.cols));
  const int base = BaseShift(weights.format, input.format);
  const int32_t guard = 1 << GuardBits(weights.format);
  int32_t acc = 0;
  for (int64_t group = 0; group < input.blocks(); ++group) {
    const RowGroup unpacked = UnpackGroup(weights, row, group);
    const std::array<int8_t, kGroup> levels = Levels(weights, unpacked);
    int32_t products = 0;
    for (int64_t column = 0; column < kGroup; ++column) {
      products += levels[static_cast<size_t>(column)] *
                  input.codes[static_cast<size_t>(group * kGroup + column)];
    }
    const int32_t scaled = products * unpacked.scale * guard;
    const int shift =
        base + input.max_shift - input.shifts[static_cast<size_t>(group)] + unpacked.halvings;
    acc += static_cast<int32_t>(RoundShiftRight(scaled, shift));
  }
  return acc;
}

void MultiplyMatrix(const WeightView& weights, const Activation& input, std::span<int32_t> out) {
  const int result_shift = ResultShift(weights.format, input.format);
  for (int64_t row = 0; row < weights.rows; ++row) {
    out[static_cast<size_t>(row)] =
        FinishRow(AccumulateRow(weights, row, input), RowScale(weights, row), input.max_shift,
                  input.point, result_shift);
  }
}

void EmbedRow(const WeightView& weights, int64_t row, std::span<int32_t> out) {
  const Scale16 scale = RowScale(weights, row);
  for (int64_t group = 0; group < GroupCount(weights.cols); ++group) {
    const RowGroup unpacked = UnpackGroup(weights, row, group);
    const std::array<int8_t, kGroup> levels = Levels(weights, unpacked);
    const int64_t begin = group * kGroup;
    for (int64_t column = begin; column < std::min(begin + kGroup, weights.cols); ++column) {
      const int64_t level = levels[static_cast<size_t>(column - begin)] * unpacked.scale;
      out[static_cast<size_t>(column)] =
          ShiftSaturate32(level * scale.mantissa, scale.exponent - unpacked.halvings + kPoint);
    }
  }
}

}  // namespace etch::numerics
