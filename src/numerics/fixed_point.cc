#include "numerics/fixed_point.h"

#include <cmath>

namespace etch::numerics {
namespace {

struct Parts {
  int64_t mantissa = 0;
  int exponent = 0;
};

// magnitude = mantissa * 2^exponent with 2^(bits-1) ≤ mantissa < 2^bits, or zero below 2^-112 and
// for a NaN.
Parts Split(double magnitude, int bits) {
  if (!(magnitude >= 0x1p-112)) {
    return {};
  }
  if (std::isinf(magnitude)) {
    return {(int64_t{1} << bits) - 1, INT8_MAX};
  }
  int exponent = 0;
  const double fraction = std::frexp(magnitude, &exponent);  // [0.5, 1)
  int64_t mantissa = std::llround(std::ldexp(fraction, bits));
  if (mantissa == int64_t{1} << bits) {
    mantissa >>= 1;
    ++exponent;
  }
  exponent -= bits;
  if (exponent > INT8_MAX) {
    return {(int64_t{1} << bits) - 1, INT8_MAX};
  }
  return {mantissa, exponent};
}

}  // namespace

Scale16 ToScale16(double value) {
  const Parts parts = Split(value, 16);
  return {static_cast<uint16_t>(parts.mantissa), static_cast<int8_t>(parts.exponent)};
}

double FromScale16(Scale16 scale) {
  return std::ldexp(static_cast<double>(scale.mantissa), scale.exponent);
}

Gain16 ToGain16(double value) {
  const Parts parts = Split(std::fabs(value), 15);
  const int64_t mantissa = value < 0 ? -parts.mantissa : parts.mantissa;
  return {static_cast<int16_t>(mantissa), static_cast<int8_t>(parts.exponent)};
}

double FromGain16(Gain16 gain) {
  return std::ldexp(static_cast<double>(gain.mantissa), gain.exponent);
}

}  // namespace etch::numerics
