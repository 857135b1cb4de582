#pragma once

// Values of a file to float: plain numbers and ggml's quantised blocks.

#include <bit>
#include <cstdint>
#include <span>

#include "base/bytes.h"
#include "base/error.h"
#include "formats/data_type.h"

namespace etch::formats {

// Decodes `data` into `out`, exactly, whatever the values (NaN and infinity pass). kUnsupported
// when the type is not readable (DataTypeTraits), kMalformed when `data` is not exactly out.size()
// values.
Status Dequantize(DataType type, Bytes data, std::span<float> out);

// The conversions stand here so that loops over them are inlined and vectorised.

// IEEE 754 binary16 to float, exact for all 65536 codes; a NaN keeps its payload.
inline float HalfToFloat(uint16_t half) {
  const auto magnitude = static_cast<uint32_t>(half & 0x7FFF);
  // Exponent and mantissa moved into place lack 112 in the exponent; the product adds it, and
  // normalises subnormals on the way.
  const float scaled = std::bit_cast<float>(magnitude << 13) * 0x1p112F;
  const uint32_t special = magnitude >= 0x7C00U ? 0x7F800000U : 0U;
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(scaled) | special | sign);
}

// Rounds to nearest, ties to even; overflows to infinity; NaN stays a quiet NaN.
inline uint16_t FloatToHalf(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t magnitude = bits & 0x7FFFFFFFU;
  uint32_t code = 0;
  if (magnitude > 0x7F800000U) {
    code = 0x7E00U | ((magnitude >> 13) & 0x3FFU);
  } else if (magnitude >= 0x477FF000U) {  // 65520 and above round to infinity
    code = 0x7C00U;
  } else if (magnitude >= 0x38800000U) {  // 2^-14: normal
    code = (magnitude + 0xFFFU + ((magnitude >> 13) & 1U) - (112U << 23)) >> 13;
  } else {
    // Adding 0.5 leaves multiples of 2^-24, the unit of subnormals, rounded by the addition.
    code = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5F) - 0x3F000000U;
  }
  return static_cast<uint16_t>(code | (bits >> 16 & 0x8000U));
}

inline float Bfloat16ToFloat(uint16_t code) {
  return std::bit_cast<float>(static_cast<uint32_t>(code) << 16);
}

// Rounds as FloatToHalf does.
inline uint16_t FloatToBfloat16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7FFFFFFFU) > 0x7F800000U) {
    return static_cast<uint16_t>((bits >> 16) | 0x40U);
  }
  return static_cast<uint16_t>((bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16);
}

// Encodes `values` as kF32, kF16 or kBf16 into `out` (values.size() elements). kInvalidArgument for
// any other type.
Status EncodeFloats(DataType type, std::span<const float> values, std::span<std::byte> out);

}  // namespace etch::formats
