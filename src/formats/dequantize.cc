#include "formats/dequantize.h"

// Plain numbers and the blocks of 32. The layouts are those of ggml (ggml-common.h, block_q4_0 and
// so on):
//
//   Q4_0  f16 d         16 bytes of nibbles              (q - 8) d
//   Q4_1  f16 d, f16 m  16 bytes of nibbles              q d + m
//   Q5_0  f16 d         u32 fifth bits, 16 of nibbles    (q - 16) d
//   Q5_1  f16 d, f16 m  u32 fifth bits, 16 of nibbles    q d + m
//   Q8_0  f16 d         32 signed bytes                  q d
//
// Byte j holds value j in its low and value j + 16 in its high nibble. The float operations and
// their order are ggml's reference decoder's, so the weights are the very floats that llama.cpp
// computes with. Half and bfloat16 rows are branch-free loops that the compiler vectorises.

#include <cstring>

#include "formats/dequantize_blocks.h"

namespace etch::formats {
namespace {

constexpr int kSmallBlock = 32;
constexpr int kHalfBlock = kSmallBlock / 2;

float LoadHalf(const std::byte* from) {
  uint16_t code;
  std::memcpy(&code, from, sizeof code);
  return HalfToFloat(code);
}

template <bool kHasMinimum>
void DecodeQ4(const std::byte* block, float* out) {
  const float scale = LoadHalf(block);
  const float minimum = kHasMinimum ? LoadHalf(block + 2) : 0.0F;
  const std::byte* nibbles = block + (kHasMinimum ? 4 : 2);
  for (int index = 0; index < kHalfBlock; ++index) {
    const int code = std::to_integer<int>(nibbles[index]);
    if constexpr (kHasMinimum) {
      out[index] = static_cast<float>(code & 15) * scale + minimum;
      out[index + kHalfBlock] = static_cast<float>(code >> 4) * scale + minimum;
    } else {
      out[index] = static_cast<float>((code & 15) - 8) * scale;
      out[index + kHalfBlock] = static_cast<float>((code >> 4) - 8) * scale;
    }
  }
}

template <bool kHasMinimum>
void DecodeQ5(const std::byte* block, float* out) {
  const float scale = LoadHalf(block);
  const float minimum = kHasMinimum ? LoadHalf(block + 2) : 0.0F;
  const std::byte* rest = block + (kHasMinimum ? 4 : 2);
  uint32_t fifth;
  std::memcpy(&fifth, rest, sizeof fifth);
  const std::byte* nibbles = rest + sizeof fifth;
  for (int index = 0; index < kHalfBlock; ++index) {
    const int code = std::to_integer<int>(nibbles[index]);
    const int low = (code & 15) | static_cast<int>((fifth >> index) & 1U) << 4;
    const int high = (code >> 4) | static_cast<int>((fifth >> (index + kHalfBlock)) & 1U) << 4;
    if constexpr (kHasMinimum) {
      out[index] = static_cast<float>(low) * scale + minimum;
      out[index + kHalfBlock] = static_cast<float>(high) * scale + minimum;
    } else {
      out[index] = static_cast<float>(low - 16) * scale;
      out[index + kHalfBlock] = static_cast<float>(high - 16) * scale;
    }
  }
}

void DecodeQ8(const std::byte* block, float* out) {
  const float scale = LoadHalf(block);
  for (int index = 0; index < kSmallBlock; ++index) {
    const auto code = static_cast<int8_t>(block[2 + index]);
    out[index] = static_cast<float>(code) * scale;
  }
}

// `kConvert` of each 16-bit code. A template parameter, since a call through a pointer would keep
// the loop from being vectorised.
template <auto kConvert>
void DecodeCodes(Bytes data, std::span<float> out) {
  const std::byte* from = data.data();
  float* to = out.data();
  const size_t count = out.size();
  for (size_t index = 0; index < count; ++index) {
    uint16_t code;
    std::memcpy(&code, from + 2 * index, sizeof code);
    to[index] = kConvert(code);
  }
}

template <auto kConvert>
void EncodeCodes(std::span<const float> values, std::span<std::byte> out) {
  for (size_t index = 0; index < values.size(); ++index) {
    const uint16_t code = kConvert(values[index]);
    std::memcpy(out.data() + 2 * index, &code, sizeof code);
  }
}

}  // namespace

internal::BlockDecoder internal::FindSmallBlockDecoder(DataType type) {
  switch (type) {
    case DataType::kQ4_0:
      return DecodeQ4<false>;
    case DataType::kQ4_1:
      return DecodeQ4<true>;
    case DataType::kQ5_0:
      return DecodeQ5<false>;
    case DataType::kQ5_1:
      return DecodeQ5<true>;
    case DataType::kQ8_0:
      return DecodeQ8;
    default:
      return nullptr;
  }
}

Status Dequantize(DataType type, Bytes data, std::span<float> out) {
  const DataTypeTraits& traits = Traits(type);
  if (!traits.readable) {
    return Fail(ErrorCode::kUnsupported,
                "values of type {} cannot be read; convert them to F16, Q8_0 or a K type",
                traits.name);
  }
  ETCH_ASSIGN_OR_RETURN(const uint64_t size, DataSize(type, out.size(), "data"));
  if (size != data.size()) {
    return Fail(ErrorCode::kMalformed, "{} bytes of {} where {} values need {}", data.size(),
                traits.name, out.size(), size);
  }
  if (out.empty()) {
    return {};
  }
  switch (type) {
    case DataType::kF32:
      std::memcpy(out.data(), data.data(), data.size());
      return {};
    case DataType::kF16:
      DecodeCodes<HalfToFloat>(data, out);
      return {};
    case DataType::kBf16:
      DecodeCodes<Bfloat16ToFloat>(data, out);
      return {};
    default:
      break;
  }
  const internal::BlockDecoder small = internal::FindSmallBlockDecoder(type);
  const internal::BlockDecoder decode =
      small != nullptr ? small : internal::FindKBlockDecoder(type);
  ETCH_CHECK(decode != nullptr, "{} is readable but has no decoder", traits.name);
  const auto block_values = static_cast<size_t>(traits.block_values);
  const auto block_bytes = static_cast<size_t>(traits.block_bytes);
  for (size_t block = 0; block < out.size() / block_values; ++block) {
    decode(data.data() + block * block_bytes, out.data() + block * block_values);
  }
  return {};
}

Status EncodeFloats(DataType type, std::span<const float> values, std::span<std::byte> out) {
  if (type != DataType::kF32 && type != DataType::kF16 && type != DataType::kBf16) {
    return Fail(ErrorCode::kInvalidArgument, "cannot encode floats as {}", Traits(type).name);
  }
  const auto element = static_cast<size_t>(Traits(type).block_bytes);
  ETCH_CHECK(out.size() == values.size() * element, "{} bytes for {} values", out.size(),
             values.size());
  if (values.empty()) {
    return {};
  }
  if (type == DataType::kF32) {
    std::memcpy(out.data(), values.data(), out.size());
  } else if (type == DataType::kF16) {
    EncodeCodes<FloatToHalf>(values, out);
  } else {
    EncodeCodes<FloatToBfloat16>(values, out);
  }
  return {};
}

}  // namespace etch::formats
