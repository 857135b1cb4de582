#pragma once

// The dot product of the contract: one output of a linear layer from packed weights and a quantised
// input. docs/numeric-contract.md §6.
//
//   P_g = Σ level_i · code_i                         32 products, int32
//   S_g = P_g · scale_g · 2^guard                    int32
//   acc = Σ_g round(S_g / 2^(base + E − e_g + d_g))  int32; e_g the block's shift, E the largest
//   y   = round(acc · row_mantissa · 2^(row_exponent + E + base − guard − point + 16)), saturated
//
// `base` is a constant of the pair of formats, chosen so that acc fits 32 bits for every width up
// to 28,672. `guard` and d_g, the halvings of the group scale, are those of W4F; 0 in other
// formats.

#include <cstdint>
#include <span>

#include "numerics/activation.h"
#include "numerics/weights.h"

namespace etch::numerics {

constexpr int BaseShift(WeightFormat weights, ActivationFormat input) {
  return (weights == WeightFormat::kW6 ? 2 : 0) + (input == ActivationFormat::kA16 ? 8 : 0);
}

// Bits that a sum of W4F gains below its point, so that halving it again and again rounds away
// little. docs/decisions/0006.
constexpr int GuardBits(WeightFormat weights) { return weights == WeightFormat::kW4F ? 5 : 0; }

// What an accumulator is short of its true value, as a power of two, before the input's max_shift.
constexpr int ResultShift(WeightFormat weights, ActivationFormat input) {
  return BaseShift(weights, input) - GuardBits(weights);
}

// acc of one row.
int32_t AccumulateRow(const WeightView& weights, int64_t row, const Activation& input);

// y from acc: I32 with 16 fraction bits. `result_shift` is ResultShift() of the formats.
constexpr int32_t FinishRow(int32_t acc, Scale16 row_scale, int max_shift, int point,
                            int result_shift) {
  return ShiftSaturate32(int64_t{acc} * row_scale.mantissa,
                         row_scale.exponent + max_shift + result_shift - point + kPoint);
}

// out[r] = y of row r, for every row. `out` holds weights.rows values.
void MultiplyMatrix(const WeightView& weights, const Activation& input, std::span<int32_t> out);

// Row `row` of an embedding, as R32: round(level · group scale · row_scale · 2^16). `out` holds
// weights.cols values.
void EmbedRow(const WeightView& weights, int64_t row, std::span<int32_t> out);

// What an adapter adds: delta · weight_q16 / 2^16, rounded; the identity for weight 1.0 = 65536.
// The caller adds the deltas of all adapters to the base in 64 bits and saturates once.
constexpr int64_t WeighDelta(int32_t delta, int32_t weight_q16) {
  return RoundShiftRight(int64_t{delta} * weight_q16, 16);
}

}  // namespace etch::numerics
