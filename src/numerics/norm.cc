#include "numerics/norm.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "base/error.h"

namespace etch::numerics {

uint64_t NormEpsilon(double eps, int64_t dim) {
  return static_cast<uint64_t>(std::llround(std::ldexp(eps * static_cast<double>(dim), 32)));
}

Gain16 NormGain(double gain, int64_t dim) {
  return ToGain16(gain * std::sqrt(static_cast<double>(dim)));
}

ReciprocalRoot Rsqrt(uint64_t value, const FunctionTables& tables) {
  ETCH_DCHECK(value >= 1);
  // value = m · 4^k with m in [1, 4), m with 30 fraction bits.
  const int exponent = (BitLength(value) - 1) / 2;
  const int align = kRsqrtBits - 2 * exponent;
  const auto m = static_cast<int64_t>(align >= 0 ? value << align : value >> -align);
  const int64_t start = tables.rsqrt[static_cast<size_t>((m >> 24) - 64)];
  // One step of Newton's method: y · (3 − m·y²) / 2.
  const int64_t square = RoundShiftRight(start * start, kRsqrtBits);
  const int64_t product = RoundShiftRight(m * square, kRsqrtBits);
  const int64_t correction = (int64_t{3} << kRsqrtBits) - product;
  return {RoundShiftRight(start * correction, kRsqrtBits + 1), exponent};
}

void RmsNorm(std::span<const int32_t> x, std::span<const Gain16> gains, uint64_t epsilon,
             const FunctionTables& tables, std::span<int32_t> y) {
  // Brought down to 23 magnitude bits, 16,384 squares fit 2^60.
  constexpr int kInputBits = 23;
  uint64_t largest = 0;
  for (const int32_t value : x) {
    largest = std::max(largest, static_cast<uint64_t>(std::abs(int64_t{value})));
  }
  const int shift = std::max(0, BitLength(largest) - kInputBits);
  uint64_t squares =
      static_cast<uint64_t>(RoundShiftRight(static_cast<int64_t>(epsilon), 2 * shift));
  for (const int32_t value : x) {
    const int64_t reduced = RoundShiftRight(value, shift);
    squares += static_cast<uint64_t>(reduced * reduced);
  }
  if (squares == 0) {
    std::fill(y.begin(), y.end(), 0);
    return;
  }
  const ReciprocalRoot root = Rsqrt(squares, tables);
  for (size_t index = 0; index < x.size(); ++index) {
    const int64_t reduced = RoundShiftRight(x[index], shift);
    const int64_t unit =
        RoundShiftRight(reduced * root.mantissa, root.exponent);  // 30 fraction bits
    y[index] =
        ShiftSaturate32(unit * gains[index].mantissa, gains[index].exponent - kRsqrtBits + kPoint);
  }
}

}  // namespace etch::numerics
