#pragma once

// Rounding, shifting and saturating: the integer primitives that every other operation of the
// numeric contract is written in. docs/numeric-contract.md §2.

#include <bit>
#include <cstdint>

namespace etch::numerics {

// Fraction bits of I32 and R32: results of linear layers, the residual stream, logits.
inline constexpr int kPoint = 16;

// Largest value of I32 and R32. Saturation is symmetric, so that |x| always fits.
inline constexpr int32_t kMax32 = INT32_MAX;

constexpr int32_t Saturate32(int64_t value) {
  return value > kMax32 ? kMax32 : value < -kMax32 ? -kMax32 : static_cast<int32_t>(value);
}

// value / 2^shift rounded to nearest, ties up: add half, then arithmetic shift. 0 ≤ shift; |value|
// < 2^62, so that neither the half overflows nor a shift above 62 leaves anything but zero.
constexpr int64_t RoundShiftRight(int64_t value, int shift) {
  if (shift == 0) {
    return value;
  }
  if (shift > 62) {
    return 0;
  }
  return (value + (int64_t{1} << (shift - 1))) >> shift;
}

// value * 2^exponent, rounded as above when the exponent is negative. For positive exponents the
// caller guarantees that the result fits 63 bits.
constexpr int64_t ShiftBy(int64_t value, int exponent) {
  return exponent < 0 ? RoundShiftRight(value, -exponent) : value << exponent;
}

// value * 2^exponent, rounded once and saturated to ±kMax32. Any exponent; |value| < 2^62.
constexpr int32_t ShiftSaturate32(int64_t value, int exponent) {
  if (exponent <= 0) {
    return Saturate32(RoundShiftRight(value, -exponent));
  }
  if (value == 0) {
    return 0;
  }
  if (exponent > 31 || value > (kMax32 >> exponent) || value < -(kMax32 >> exponent)) {
    return value > 0 ? kMax32 : -kMax32;
  }
  return static_cast<int32_t>(value << exponent);
}

// Number of bits of a non-negative value: 0 for 0, 1 for 1, 2 for 2 and 3.
constexpr int BitLength(uint64_t value) { return static_cast<int>(std::bit_width(value)); }

// The upper 64 bits of the 128-bit product.
constexpr uint64_t MultiplyHigh(uint64_t a, uint64_t b) {
  const uint64_t a_low = a & 0xffffffffU;
  const uint64_t a_high = a >> 32;
  const uint64_t b_low = b & 0xffffffffU;
  const uint64_t b_high = b >> 32;
  const uint64_t middle = a_high * b_low + ((a_low * b_low) >> 32);
  const uint64_t carry = (middle & 0xffffffffU) + a_low * b_high;
  return a_high * b_high + (middle >> 32) + (carry >> 32);
}

// A positive real as mantissa * 2^exponent with a 16-bit mantissa: row scales, the score scale.
struct Scale16 {
  uint16_t mantissa = 0;  // 0, or 2^15 … 2^16 - 1
  int8_t exponent = 0;
  bool operator==(const Scale16&) const = default;
};
// The nearest Scale16 to a real ≥ 0; below 2^-112 it is zero, above the largest, 65535 · 2^127, the
// largest.
Scale16 ToScale16(double value);
double FromScale16(Scale16 scale);

// A signed real likewise, with a 15-bit magnitude: gains of the norms.
struct Gain16 {
  int16_t mantissa = 0;
  int8_t exponent = 0;
  bool operator==(const Gain16&) const = default;
};
Gain16 ToGain16(double value);
double FromGain16(Gain16 gain);

}  // namespace etch::numerics
