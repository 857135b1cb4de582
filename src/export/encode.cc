#include "export/encode.h"

// Q8_0 (ggml-common.h, block_q8_0): 32 values as a binary16 step d and 32 signed bytes; a value is
// its byte times d.
//
//   from values   d = max |value| / 127 rounded to binary16, codes to nearest
//   from levels   |value| = level · step with level ≤ 32: code = m · level and d = step / m for the
//                 m that rounding to binary16 hurts least. The larger codes cost nothing and give a
//                 choice of up to 127 / max level mantissas, of which one is often exact.
//
// Whichever of the two is closer is taken: a step below 2^-14 loses bits in binary16.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "formats/dequantize.h"

namespace etch::exporting {
namespace {

constexpr size_t kBlock = 32;
constexpr size_t kBlockBytes = 34;
constexpr float kLargestCode = 127.0F;
constexpr float kHalfUlp = 0x1p-11F;       // of binary16, relative
constexpr float kHalfDenormal = 0x1p-25F;  // half the unit of its subnormals
constexpr float kLargestHalf = 65504.0F;

using Codes = std::array<int8_t, kBlock>;

struct Block {
  uint16_t step = 0;  // binary16
  Codes codes{};

  float Value(size_t index) const {
    return static_cast<float>(codes[index]) * formats::HalfToFloat(step);
  }
};

double SquaredError(const Block& block, std::span<const float> values) {
  double sum = 0.0;
  for (size_t index = 0; index < kBlock; ++index) {
    const auto error = static_cast<double>(block.Value(index) - values[index]);
    sum += error * error;
  }
  return sum;
}

float LargestMagnitude(std::span<const float> values) {
  float largest = 0.0F;
  for (const float value : values) {
    largest = std::max(largest, std::abs(value));
  }
  return largest;
}

Block BlockOfValues(std::span<const float> values) {
  Block block;
  block.step = formats::FloatToHalf(LargestMagnitude(values) / kLargestCode);
  const float step = formats::HalfToFloat(block.step);
  for (size_t index = 0; index < kBlock; ++index) {
    const float code = step > 0.0F ? std::round(values[index] / step) : 0.0F;
    block.codes[index] = static_cast<int8_t>(std::clamp(code, -kLargestCode, kLargestCode));
  }
  return block;
}

// Levels times `step`, which may be negative.
Block BlockOfLevels(const std::array<int8_t, kBlock>& levels, double step) {
  int largest = 0;
  for (const int8_t level : levels) {
    largest = std::max(largest, std::abs(int{level}));
  }
  Block block;
  if (largest == 0 || step == 0.0) {
    return block;
  }
  int best = 1;
  double best_error = HUGE_VAL;
  for (int multiple = 1; multiple * largest <= 127; ++multiple) {
    const uint16_t half = formats::FloatToHalf(static_cast<float>(std::abs(step) / multiple));
    const double error =
        std::abs(static_cast<double>(formats::HalfToFloat(half)) * multiple - std::abs(step));
    if (error < best_error) {
      best = multiple;
      best_error = error;
      block.step = half;
    }
  }
  for (size_t index = 0; index < kBlock; ++index) {
    block.codes[index] = static_cast<int8_t>(levels[index] * (step < 0.0 ? -best : best));
  }
  return block;
}

void Store(const Block& block, std::span<std::byte> out, size_t index) {
  std::byte* place = out.data() + index * kBlockBytes;
  std::memcpy(place, &block.step, sizeof block.step);
  std::memcpy(place + sizeof block.step, block.codes.data(), kBlock);
}

// The largest finite value of a type.
float Largest(DataType type) {
  switch (type) {
    case DataType::kF16:
      return kLargestHalf;
    case DataType::kQ8_0:
      return kLargestHalf * kLargestCode;
    case DataType::kBf16:
      return 0x1.FEp127F;
    default:
      return HUGE_VALF;
  }
}

Status CheckRange(DataType type, std::span<const float> row) {
  const float largest = Largest(type);
  for (const float value : row) {
    if (!std::isfinite(value) || std::abs(value) > largest) {
      return Fail(ErrorCode::kUnsupported, "the value {} is beyond {}; choose a wider type", value,
                  formats::Traits(type).name);
    }
  }
  return {};
}

}  // namespace

Result<DataType> ParseExportType(std::string_view name) {
  if (name == "f32") {
    return DataType::kF32;
  }
  if (name == "f16") {
    return DataType::kF16;
  }
  if (name == "bf16") {
    return DataType::kBf16;
  }
  if (name == "q8_0") {
    return DataType::kQ8_0;
  }
  return Fail(ErrorCode::kInvalidArgument, "no export type \"{}\"; there are f32, f16, bf16, q8_0",
              name);
}

DataType TypeForRows(DataType wanted, int64_t cols) {
  return wanted == DataType::kQ8_0 && cols % static_cast<int64_t>(kBlock) != 0 ? DataType::kF16
                                                                               : wanted;
}

Status EncodeRow(DataType type, std::span<const float> row, std::span<std::byte> out) {
  ETCH_TRY(CheckRange(type, row));
  if (type != DataType::kQ8_0) {
    return formats::EncodeFloats(type, row, out);
  }
  ETCH_CHECK(row.size() % kBlock == 0 && out.size() == row.size() / kBlock * kBlockBytes);
  for (size_t index = 0; index < row.size() / kBlock; ++index) {
    Store(BlockOfValues(row.subspan(index * kBlock, kBlock)), out, index);
  }
  return {};
}

Status EncodeTiledRow(const numerics::WeightView& view, int64_t row, std::span<const float> values,
                      std::span<std::byte> out) {
  static_assert(kBlock == numerics::kGroup);
  ETCH_CHECK(numerics::IsTiled(view.format) && values.size() % kBlock == 0 &&
             out.size() == values.size() / kBlock * kBlockBytes);
  ETCH_TRY(CheckRange(DataType::kQ8_0, values));
  const double row_scale = numerics::FromScale16(numerics::RowScale(view, row));
  for (size_t index = 0; index < values.size() / kBlock; ++index) {
    const numerics::RowGroup group = numerics::UnpackGroup(view, row, static_cast<int64_t>(index));
    const double step = std::ldexp(row_scale * group.scale, -int{group.halvings});
    const auto part = values.subspan(index * kBlock, kBlock);
    const Block from_levels = BlockOfLevels(numerics::Levels(view, group), step);
    const Block from_values = BlockOfValues(part);
    const bool levels_are_closer =
        !(SquaredError(from_levels, part) > SquaredError(from_values, part));
    Store(levels_are_closer ? from_levels : from_values, out, index);
  }
  return {};
}

void RoundingBounds(DataType type, std::span<const float> row, std::span<float> bounds) {
  if (type == DataType::kQ8_0) {
    for (size_t begin = 0; begin < row.size(); begin += kBlock) {
      const float step = LargestMagnitude(row.subspan(begin, kBlock)) / kLargestCode;
      // Half a step for the code, and what the largest code makes of the step's own rounding.
      const float step_error = std::max(step * kHalfUlp, kHalfDenormal);
      std::fill_n(bounds.begin() + static_cast<std::ptrdiff_t>(begin), kBlock,
                  0.5F * (step + step_error) + kLargestCode * step_error);
    }
    return;
  }
  for (size_t index = 0; index < row.size(); ++index) {
    const float size = std::abs(row[index]);
    bounds[index] = type == DataType::kF16    ? std::max(size * kHalfUlp, kHalfDenormal)
                    : type == DataType::kBf16 ? std::max(size * 0x1p-8F, 0x1p-134F)
                                              : 0.0F;
  }
}

}  // namespace etch::exporting
