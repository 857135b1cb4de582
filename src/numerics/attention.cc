#include "numerics/attention.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.h"

namespace etch::numerics {
namespace {

constexpr int kRawBits = 12;         // fraction bits of q·k before scaling
constexpr int kReciprocalBits = 60;  // of 1 / Σ w

}  // namespace

Scale16 ScoreScale(int64_t head_dim) {
  return ToScale16(std::numbers::log2e / std::sqrt(static_cast<double>(head_dim)));
}

int32_t Score(const HeadCodes& query, const HeadCodes& key, Scale16 score_scale) {
  int64_t raw = 0;
  for (size_t block = 0; block < query.shifts.size(); ++block) {
    const size_t begin = block * kBlock;
    const size_t end = std::min(begin + kBlock, query.codes.size());
    int32_t dot = 0;
    for (size_t channel = begin; channel < end; ++channel) {
      dot += query.codes[channel] * key.codes[channel];
    }
    raw += ShiftBy(dot, query.shifts[block] + key.shifts[block] - (2 * kPoint - kRawBits));
  }
  return ShiftSaturate32(int64_t{Saturate32(raw)} * score_scale.mantissa,
                         score_scale.exponent + kPoint - kRawBits);
}

int32_t Exp2Negative(int64_t distance, const FunctionTables& tables) {
  constexpr int kFractionBits = 10;  // below the table's 64 entries an octave
  const int64_t whole = distance >> kPoint;
  if (whole > kExp2Bits + 1) {
    return 0;
  }
  const auto entry = static_cast<size_t>((distance >> kFractionBits) & 63);
  const int64_t fraction = distance & ((1 << kFractionBits) - 1);
  const int64_t step = tables.exp2[entry] - tables.exp2[entry + 1];
  const int64_t value = tables.exp2[entry] - RoundShiftRight(step * fraction, kFractionBits);
  return static_cast<int32_t>(RoundShiftRight(value, static_cast<int>(whole)));
}

void AddKey(int32_t score, const ValueCodes& value, const AttentionMaxima& maxima,
            const FunctionTables& tables, AttentionSums& sums) {
  const int32_t weight = Exp2Negative(int64_t{maxima.score} - score, tables);
  sums.weight += static_cast<uint64_t>(weight);
  for (size_t block = 0; block < value.shifts.size(); ++block) {
    const int spread = maxima.value_shifts[block] - value.shifts[block];
    const int64_t aligned = AlignWeight(weight, spread);
    const size_t begin = block * kBlock;
    const size_t end = std::min(begin + kBlock, value.codes.size());
    for (size_t channel = begin; channel < end; ++channel) {
      sums.values[channel] += aligned * value.codes[channel];
    }
  }
}

void FinishAttention(const AttentionSums& sums, const AttentionMaxima& maxima,
                     std::span<int32_t> out) {
  FinishAttention(sums.weight, sums.values, maxima.value_shifts, out);
}

void FinishAttention(uint64_t weight, std::span<const int64_t> values,
                     std::span<const uint8_t> value_shifts, std::span<int32_t> out) {
  ETCH_DCHECK(weight >= uint64_t{1} << kExp2Bits);
  // Σ w normalised to [2^30, 2^31); the sums follow, 12 bits shorter, so that the product fits 62
  // bits.
  const int align = 30 - (BitLength(weight) - 1);
  const uint64_t divisor = align >= 0 ? weight << align : weight >> -align;
  const auto reciprocal = static_cast<int64_t>((uint64_t{1} << kReciprocalBits) / divisor);
  for (size_t channel = 0; channel < out.size(); ++channel) {
    const int64_t value = ShiftBy(values[channel], align - 12);
    const int exponent = value_shifts[channel / kBlock] - (kReciprocalBits - 12) - kValueHeadroom;
    out[channel] = ShiftSaturate32(value * reciprocal, exponent);
  }
}

}  // namespace etch::numerics
