#include "formats/dequantize.h"

#include <gtest/gtest.h>

#include <bit>
#include <chrono>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <random>

namespace etch::formats {
namespace {

// binary16 by its definition (IEEE 754-2019 3.4): sign, exponent, fraction, one case each.
double HalfByDefinition(uint16_t code) {
  const int exponent = (code >> 10) & 31;
  const int fraction = code & 1023;
  const double sign = (code & 0x8000) != 0 ? -1.0 : 1.0;
  if (exponent == 31) {
    return fraction == 0 ? sign * std::numeric_limits<double>::infinity() : std::nan("");
  }
  if (exponent == 0) {
    return sign * std::ldexp(fraction, -24);
  }
  return sign * std::ldexp(1024 + fraction, exponent - 25);
}

TEST(Dequantize, AllHalfCodes) {
  for (uint32_t code = 0; code < 65536; ++code) {
    const auto half = static_cast<uint16_t>(code);
    const double expected = HalfByDefinition(half);
    const float value = HalfToFloat(half);
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(value)) << code;
      EXPECT_TRUE(std::isnan(HalfToFloat(FloatToHalf(value)))) << code;
    } else {
      EXPECT_EQ(static_cast<double>(value), expected) << code;
      EXPECT_EQ(std::signbit(value), (code & 0x8000) != 0) << code;
      EXPECT_EQ(FloatToHalf(value), half) << code;
    }
  }
}

TEST(Dequantize, FloatToHalfRoundsToNearestEven) {
  // Between each two neighbours: just below the middle, the middle, just above it.
  for (uint32_t code = 0; code < 0x7BFF; ++code) {
    const double low = HalfByDefinition(static_cast<uint16_t>(code));
    const double high = HalfByDefinition(static_cast<uint16_t>(code + 1));
    const auto middle = static_cast<float>((low + high) / 2);
    const uint32_t even = code % 2 == 0 ? code : code + 1;
    EXPECT_EQ(FloatToHalf(middle), even) << code;
    EXPECT_EQ(FloatToHalf(std::nextafter(middle, 0.0F)), code) << code;
    EXPECT_EQ(FloatToHalf(std::nextafter(middle, 1e9F)), code + 1) << code;
    EXPECT_EQ(FloatToHalf(-middle), even | 0x8000U) << code;
  }
  EXPECT_EQ(FloatToHalf(65519.99F), 0x7BFF);
  EXPECT_EQ(FloatToHalf(65520.0F), 0x7C00);
  EXPECT_EQ(FloatToHalf(1e30F), 0x7C00);
  EXPECT_EQ(FloatToHalf(std::numeric_limits<float>::denorm_min()), 0);
}

TEST(Dequantize, Bfloat16RoundsToNearestEven) {
  for (uint32_t code = 0; code < 65536; ++code) {
    const float value = Bfloat16ToFloat(static_cast<uint16_t>(code));
    EXPECT_EQ(std::bit_cast<uint32_t>(value), code << 16);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(Bfloat16ToFloat(FloatToBfloat16(value))));
    } else {
      EXPECT_EQ(FloatToBfloat16(value), code);
    }
  }
  EXPECT_EQ(FloatToBfloat16(std::bit_cast<float>(0x3F808000U)), 0x3F80);
  EXPECT_EQ(FloatToBfloat16(std::bit_cast<float>(0x3F808001U)), 0x3F81);
  EXPECT_EQ(FloatToBfloat16(std::bit_cast<float>(0x3F818000U)), 0x3F82);
  EXPECT_TRUE(std::isnan(Bfloat16ToFloat(FloatToBfloat16(std::bit_cast<float>(0x7F800001U)))));
}

// A writer of bit fields, for encoders that share nothing with the decoders: each value's bits are
// put where the format's drawing says, one by one.
class Block {
 public:
  explicit Block(DataType type) : bytes_(static_cast<size_t>(Traits(type).block_bytes)) {}

  // Sets `count` bits from bit `low` of byte `at`.
  void Set(size_t at, int low, int count, int value) {
    for (int bit = 0; bit < count; ++bit) {
      if (((value >> bit) & 1) != 0) {
        bytes_.at(at) |= std::byte{1} << (low + bit);
      }
    }
  }
  void SetHalf(size_t at, float value) {
    const uint16_t code = FloatToHalf(value);
    std::memcpy(&bytes_.at(at), &code, sizeof code);
  }
  const std::vector<std::byte>& bytes() const { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

constexpr float kScale = 0.125F;
constexpr float kMinimum = 0.5F;

struct Random {
  std::mt19937 engine{20240517};
  int operator()(int low, int high) {
    return std::uniform_int_distribution<int>(low, high)(engine);
  }
};

struct Encoded {
  Block block;
  std::vector<float> values;
};

// Codes 0 to 15 or 31 by position: nibble, fifth bit.
Encoded EncodeSmall(DataType type, Random& random) {
  const bool fifth = type == DataType::kQ5_0 || type == DataType::kQ5_1;
  const bool minimum = type == DataType::kQ4_1 || type == DataType::kQ5_1;
  Encoded encoded{Block(type), {}};
  encoded.block.SetHalf(0, kScale);
  size_t at = 2;
  if (minimum) {
    encoded.block.SetHalf(2, kMinimum);
    at = 4;
  }
  for (size_t index = 0; index < 32; ++index) {
    const int code = random(0, fifth ? 31 : 15);
    const size_t nibbles = at + (fifth ? 4 : 0);
    encoded.block.Set(nibbles + index % 16, index < 16 ? 0 : 4, 4, code & 15);
    if (fifth) {
      encoded.block.Set(at + index / 8, static_cast<int>(index % 8), 1, code >> 4);
    }
    const int centre = minimum ? 0 : (fifth ? 16 : 8);
    encoded.values.push_back(static_cast<float>(code - centre) * kScale +
                             (minimum ? kMinimum : 0.0F));
  }
  return encoded;
}

Encoded EncodeQ8(DataType type, Random& random) {
  Encoded encoded{Block(type), {}};
  encoded.block.SetHalf(0, kScale);
  for (size_t index = 0; index < 32; ++index) {
    const int code = random(-128, 127);
    encoded.block.Set(2 + index, 0, 8, code & 255);
    encoded.values.push_back(static_cast<float>(code) * kScale);
  }
  return encoded;
}

Encoded EncodeQ2K(DataType type, Random& random) {
  Encoded encoded{Block(type), {}};
  encoded.block.SetHalf(80, kScale);
  encoded.block.SetHalf(82, kMinimum);
  for (size_t group = 0; group < 16; ++group) {
    const int scale = random(0, 15);
    const int minimum = random(0, 15);
    encoded.block.Set(group, 0, 4, scale);
    encoded.block.Set(group, 4, 4, minimum);
    for (size_t within = 0; within < 16; ++within) {
      const size_t index = group * 16 + within;
      const int code = random(0, 3);
      encoded.block.Set(16 + index / 128 * 32 + index % 32, static_cast<int>(index / 32 % 4) * 2, 2,
                        code);
      encoded.values.push_back(kScale * static_cast<float>(scale * code) -
                               kMinimum * static_cast<float>(minimum));
    }
  }
  return encoded;
}

Encoded EncodeQ3K(DataType type, Random& random) {
  Encoded encoded{Block(type), {}};
  encoded.block.SetHalf(108, kScale);
  for (size_t group = 0; group < 16; ++group) {
    const int scale = random(-32, 31);
    encoded.block.Set(96 + group % 8, group < 8 ? 0 : 4, 4, (scale + 32) & 15);
    encoded.block.Set(104 + group % 4, static_cast<int>(group / 4) * 2, 2, (scale + 32) >> 4);
    for (size_t within = 0; within < 16; ++within) {
      const size_t index = group * 16 + within;
      const int code = random(-4, 3);
      encoded.block.Set(index % 32, static_cast<int>(index / 32), 1, (code + 4) >> 2);
      encoded.block.Set(32 + index / 128 * 32 + index % 32, static_cast<int>(index / 32 % 4) * 2, 2,
                        (code + 4) & 3);
      encoded.values.push_back(kScale * static_cast<float>(scale * code));
    }
  }
  return encoded;
}

// Six-bit pairs in twelve bytes, as the drawing of block_q4_K has them.
void SetScalePair(Block& block, size_t group, int scale, int minimum) {
  const size_t base = 4;
  if (group < 4) {
    block.Set(base + group, 0, 6, scale);
    block.Set(base + 4 + group, 0, 6, minimum);
  } else {
    block.Set(base + 4 + group, 0, 4, scale & 15);
    block.Set(base + 4 + group, 4, 4, minimum & 15);
    block.Set(base + group - 4, 6, 2, scale >> 4);
    block.Set(base + group, 6, 2, minimum >> 4);
  }
}

Encoded EncodeQ45K(DataType type, Random& random) {
  const bool fifth = type == DataType::kQ5K;
  Encoded encoded{Block(type), {}};
  encoded.block.SetHalf(0, kScale);
  encoded.block.SetHalf(2, kMinimum);
  for (size_t group = 0; group < 8; ++group) {
    const int scale = random(0, 63);
    const int minimum = random(0, 63);
    SetScalePair(encoded.block, group, scale, minimum);
    for (size_t within = 0; within < 32; ++within) {
      const int code = random(0, fifth ? 31 : 15);
      const size_t codes = fifth ? 48 : 16;
      encoded.block.Set(codes + group / 2 * 32 + within, group % 2 == 0 ? 0 : 4, 4, code & 15);
      if (fifth) {
        encoded.block.Set(16 + within, static_cast<int>(group), 1, code >> 4);
      }
      encoded.values.push_back(kScale * static_cast<float>(scale * code) -
                               kMinimum * static_cast<float>(minimum));
    }
  }
  return encoded;
}

Encoded EncodeQ6K(DataType type, Random& random) {
  Encoded encoded{Block(type), {}};
  encoded.block.SetHalf(208, kScale);
  for (size_t group = 0; group < 16; ++group) {
    const int scale = random(-128, 127);
    encoded.block.Set(192 + group, 0, 8, scale & 255);
    for (size_t within = 0; within < 16; ++within) {
      const size_t index = group * 16 + within;
      const size_t half = index / 128;
      const int code = random(-32, 31);
      encoded.block.Set(half * 64 + index % 64, index % 128 < 64 ? 0 : 4, 4, (code + 32) & 15);
      encoded.block.Set(128 + half * 32 + index % 32, static_cast<int>(index / 32 % 4) * 2, 2,
                        (code + 32) >> 4);
      encoded.values.push_back(kScale * static_cast<float>(scale * code));
    }
  }
  return encoded;
}

TEST(Dequantize, BlocksDecodeToWhatWasEncoded) {
  using Encoder = Encoded (*)(DataType, Random&);
  const std::pair<DataType, Encoder> cases[] = {
      {DataType::kQ4_0, EncodeSmall}, {DataType::kQ4_1, EncodeSmall},
      {DataType::kQ5_0, EncodeSmall}, {DataType::kQ5_1, EncodeSmall},
      {DataType::kQ8_0, EncodeQ8},    {DataType::kQ2K, EncodeQ2K},
      {DataType::kQ3K, EncodeQ3K},    {DataType::kQ4K, EncodeQ45K},
      {DataType::kQ5K, EncodeQ45K},   {DataType::kQ6K, EncodeQ6K}};
  Random random;
  for (const auto& [type, encode] : cases) {
    std::vector<std::byte> data;
    std::vector<float> expected;
    for (int block = 0; block < 20; ++block) {
      const Encoded encoded = encode(type, random);
      data.insert(data.end(), encoded.block.bytes().begin(), encoded.block.bytes().end());
      expected.insert(expected.end(), encoded.values.begin(), encoded.values.end());
    }
    std::vector<float> decoded(expected.size());
    ASSERT_TRUE(Dequantize(type, data, decoded)) << Traits(type).name;
    // Scales are powers of two and codes small, so that every step is exact.
    EXPECT_EQ(decoded, expected) << Traits(type).name;
  }
}

TEST(Dequantize, FloatsRoundTrip) {
  std::vector<float> values;
  for (int index = -1000; index < 1000; ++index) {
    values.push_back(static_cast<float>(index) / 64.0F);
  }
  for (const DataType type : {DataType::kF32, DataType::kF16, DataType::kBf16}) {
    std::vector<std::byte> data(values.size() * static_cast<size_t>(Traits(type).block_bytes));
    ASSERT_TRUE(EncodeFloats(type, values, data));
    std::vector<float> decoded(values.size());
    ASSERT_TRUE(Dequantize(type, data, decoded));
    for (size_t index = 0; index < values.size(); ++index) {
      const float bound = type == DataType::kBf16 ? std::abs(values[index]) / 256.0F : 0.0F;
      EXPECT_LE(std::abs(decoded[index] - values[index]), bound);
    }
  }
  EXPECT_EQ(EncodeFloats(DataType::kI8, values, {}).error().message, "cannot encode floats as I8");
  EXPECT_TRUE(EncodeFloats(DataType::kF16, {}, {}));
}

TEST(Dequantize, RefusesWrongSizesAndTypes) {
  std::vector<std::byte> data(18);
  std::vector<float> out(32);
  EXPECT_TRUE(Dequantize(DataType::kQ4_0, data, out));
  EXPECT_TRUE(Dequantize(DataType::kQ4_0, {}, {}));
  EXPECT_EQ(Dequantize(DataType::kQ4_0, Bytes(data).first(17), out).error().message,
            "17 bytes of Q4_0 where 32 values need 18");
  EXPECT_EQ(Dequantize(DataType::kQ4_0, data, std::span(out).first(31)).error().code,
            ErrorCode::kMalformed);
  EXPECT_EQ(Dequantize(DataType::kIq4Nl, data, out).error().code, ErrorCode::kUnsupported);
}

}  // namespace
}  // namespace etch::formats
