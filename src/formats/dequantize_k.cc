// ggml's K types: blocks of 256 values in 16 (Q2, Q3, Q6) or 8 (Q4, Q5) groups, each group with a
// small integer scale, and for Q2, Q4, Q5 a small integer minimum, under one f16 scale (and f16
// scale of minima) a block. Layouts (ggml-common.h, block_q2_K and so on), sizes in bytes:
//
//   Q2_K   scales 16 (low nibble scale, high nibble minimum) | codes 64 | d | dmin
//   Q3_K   high bits 32 | codes 64 | scales 12 (6 bits each) | d
//   Q4_K   d | dmin | scales and minima 12 (6 bits each) | codes 128
//   Q5_K   d | dmin | scales and minima 12 | fifth bits 32 | codes 128
//   Q6_K   low nibbles 128 | high pairs 64 | scales 16 (signed) | d
//
// The two-bit codes of a half (128 values) lie in 32 bytes: byte j holds value j, j + 32, j + 64
// and j + 96 from its lowest bits up. Float operations stand in the order of ggml's reference
// decoder, for equal bits.

#include <array>
#include <cstdint>
#include <cstring>

#include "formats/dequantize.h"
#include "formats/dequantize_blocks.h"

namespace etch::formats {
namespace {

constexpr int kHalfValues = 128;
constexpr int kRun = 32;  // values between two bit fields of a byte

float LoadHalf(const uint8_t* from) {
  uint16_t code;
  std::memcpy(&code, from, sizeof code);
  return HalfToFloat(code);
}

void DecodeQ2K(const std::byte* block, float* out) {
  const auto* scales = reinterpret_cast<const uint8_t*>(block);
  const uint8_t* codes = scales + 16;
  const float scale = LoadHalf(codes + 64);
  const float minimum = LoadHalf(codes + 66);
  for (int half = 0; half < 2; ++half) {
    for (int field = 0; field < 4; ++field) {
      float* run = out + half * kHalfValues + field * kRun;
      for (int index = 0; index < kRun; ++index) {
        const int group = scales[8 * half + 2 * field + index / 16];
        const float step = scale * static_cast<float>(group & 15);
        const float offset = minimum * static_cast<float>(group >> 4);
        const int code = (codes[kRun * half + index] >> (2 * field)) & 3;
        run[index] = step * static_cast<float>(code) - offset;
      }
    }
  }
}

// The scales of Q3_K: scale i has its low nibble in byte i % 8 (scales 8 to 15 in the high
// nibbles), its two high bits in byte 8 + i % 4.
int ScaleQ3K(const uint8_t* scales, int index) {
  const int low = index < 8 ? scales[index] & 15 : scales[index - 8] >> 4;
  const int high = (scales[8 + index % 4] >> (2 * (index / 4))) & 3;
  return (low | high << 4) - 32;
}

void DecodeQ3K(const std::byte* block, float* out) {
  const auto* high_bits = reinterpret_cast<const uint8_t*>(block);
  const uint8_t* codes = high_bits + 32;
  const uint8_t* scales = codes + 64;
  const float scale = LoadHalf(scales + 12);
  for (int half = 0; half < 2; ++half) {
    for (int field = 0; field < 4; ++field) {
      float* run = out + half * kHalfValues + field * kRun;
      for (int index = 0; index < kRun; ++index) {
        const int group = ScaleQ3K(scales, 8 * half + 2 * field + index / 16);
        const int low = (codes[kRun * half + index] >> (2 * field)) & 3;
        const int high = (high_bits[index] >> (4 * half + field)) & 1;
        run[index] = scale * static_cast<float>(group) * static_cast<float>(low + 4 * high - 4);
      }
    }
  }
}

struct ScaleAndMinimum {
  int scale;
  int minimum;
};

// The 12 bytes of Q4_K and Q5_K: the first four pairs take the low six bits of bytes 0-3 and 4-7;
// the others take nibbles of bytes 8-11 and the top two bits of bytes 0-3 and 4-7.
ScaleAndMinimum UnpackScale(const uint8_t* packed, int index) {
  if (index < 4) {
    return {packed[index] & 63, packed[index + 4] & 63};
  }
  return {(packed[index + 4] & 15) | (packed[index - 4] >> 6) << 4,
          (packed[index + 4] >> 4) | (packed[index] >> 6) << 4};
}

// Q4_K, and Q5_K with its fifth bits.
template <bool kHasFifthBits>
void DecodeQ45K(const std::byte* block, float* out) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(block);
  const float scale = LoadHalf(bytes);
  const float minimum = LoadHalf(bytes + 2);
  const uint8_t* fifth = bytes + 16;
  const uint8_t* codes = fifth + (kHasFifthBits ? 32 : 0);
  for (int group = 0; group < 8; ++group) {
    const ScaleAndMinimum packed = UnpackScale(bytes + 4, group);
    const float step = scale * static_cast<float>(packed.scale);
    const float offset = minimum * static_cast<float>(packed.minimum);
    const uint8_t* nibbles = codes + kRun * (group / 2);
    const int shift = 4 * (group % 2);
    for (int index = 0; index < kRun; ++index) {
      int code = (nibbles[index] >> shift) & 15;
      if constexpr (kHasFifthBits) {
        code |= ((fifth[index] >> group) & 1) << 4;
      }
      out[kRun * group + index] = step * static_cast<float>(code) - offset;
    }
  }
}

void DecodeQ6K(const std::byte* block, float* out) {
  const auto* low_nibbles = reinterpret_cast<const uint8_t*>(block);
  const uint8_t* high_pairs = low_nibbles + 128;
  const auto* scales = reinterpret_cast<const int8_t*>(high_pairs + 64);
  const float scale = LoadHalf(high_pairs + 80);
  for (int half = 0; half < 2; ++half) {
    for (int field = 0; field < 4; ++field) {
      float* run = out + half * kHalfValues + field * kRun;
      const uint8_t* nibbles = low_nibbles + 64 * half + kRun * (field % 2);
      const int nibble_shift = 4 * (field / 2);
      for (int index = 0; index < kRun; ++index) {
        const int low = (nibbles[index] >> nibble_shift) & 15;
        const int high = (high_pairs[kRun * half + index] >> (2 * field)) & 3;
        const int group = scales[8 * half + 2 * field + index / 16];
        run[index] = scale * static_cast<float>(group) * static_cast<float>((low | high << 4) - 32);
      }
    }
  }
}

}  // namespace

internal::BlockDecoder internal::FindKBlockDecoder(DataType type) {
  switch (type) {
    case DataType::kQ2K:
      return DecodeQ2K;
    case DataType::kQ3K:
      return DecodeQ3K;
    case DataType::kQ4K:
      return DecodeQ45K<false>;
    case DataType::kQ5K:
      return DecodeQ45K<true>;
    case DataType::kQ6K:
      return DecodeQ6K;
    default:
      return nullptr;
  }
}

}  // namespace etch::formats
