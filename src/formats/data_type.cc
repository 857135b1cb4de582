#include "formats/data_type.h"

#include <array>

#include "base/bytes.h"

namespace etch::formats {
namespace {

using enum DataType;

// In the order of the enumeration, which Traits() relies on and data_type_test checks. Block sizes
// are those of ggml's ggml-common.h.
constexpr std::array<DataTypeTraits, 40> kTraits = {{
    {kF64, "F64", 1, 8, 28, true, false},
    {kF32, "F32", 1, 4, 0, true, true},
    {kF16, "F16", 1, 2, 1, true, true},
    {kBf16, "BF16", 1, 2, 30, true, true},
    {kF8E4m3, "F8_E4M3", 1, 1, -1, true, false},
    {kF8E5m2, "F8_E5M2", 1, 1, -1, true, false},
    {kF8E8m0, "F8_E8M0", 1, 1, -1, true, false},
    {kBool, "BOOL", 1, 1, -1, true, false},
    {kU8, "U8", 1, 1, -1, true, false},
    {kI8, "I8", 1, 1, 24, true, false},
    {kU16, "U16", 1, 2, -1, true, false},
    {kI16, "I16", 1, 2, 25, true, false},
    {kU32, "U32", 1, 4, -1, true, false},
    {kI32, "I32", 1, 4, 26, true, false},
    {kU64, "U64", 1, 8, -1, true, false},
    {kI64, "I64", 1, 8, 27, true, false},
    {kQ4_0, "Q4_0", 32, 18, 2, false, true},
    {kQ4_1, "Q4_1", 32, 20, 3, false, true},
    {kQ5_0, "Q5_0", 32, 22, 6, false, true},
    {kQ5_1, "Q5_1", 32, 24, 7, false, true},
    {kQ8_0, "Q8_0", 32, 34, 8, false, true},
    {kQ8_1, "Q8_1", 32, 36, 9, false, false},
    {kQ2K, "Q2_K", 256, 84, 10, false, true},
    {kQ3K, "Q3_K", 256, 110, 11, false, true},
    {kQ4K, "Q4_K", 256, 144, 12, false, true},
    {kQ5K, "Q5_K", 256, 176, 13, false, true},
    {kQ6K, "Q6_K", 256, 210, 14, false, true},
    {kQ8K, "Q8_K", 256, 292, 15, false, false},
    {kIq2Xxs, "IQ2_XXS", 256, 66, 16, false, false},
    {kIq2Xs, "IQ2_XS", 256, 74, 17, false, false},
    {kIq3Xxs, "IQ3_XXS", 256, 98, 18, false, false},
    {kIq1S, "IQ1_S", 256, 50, 19, false, false},
    {kIq4Nl, "IQ4_NL", 32, 18, 20, false, false},
    {kIq3S, "IQ3_S", 256, 110, 21, false, false},
    {kIq2S, "IQ2_S", 256, 82, 22, false, false},
    {kIq4Xs, "IQ4_XS", 256, 136, 23, false, false},
    {kIq1M, "IQ1_M", 256, 56, 29, false, false},
    {kTq1_0, "TQ1_0", 256, 54, 34, false, false},
    {kTq2_0, "TQ2_0", 256, 66, 35, false, false},
    {kMxfp4, "MXFP4", 32, 17, 39, false, false},
}};

constexpr uint64_t kMaxElements = uint64_t{1} << 62;

}  // namespace

const DataTypeTraits& Traits(DataType type) { return kTraits[static_cast<size_t>(type)]; }

std::optional<DataType> DataTypeFromGguf(uint32_t code) {
  for (const DataTypeTraits& traits : kTraits) {
    if (traits.gguf_code >= 0 && static_cast<uint32_t>(traits.gguf_code) == code) {
      return traits.type;
    }
  }
  return std::nullopt;
}

std::optional<DataType> DataTypeFromSafetensors(std::string_view name) {
  for (const DataTypeTraits& traits : kTraits) {
    if (traits.in_safetensors && traits.name == name) {
      return traits.type;
    }
  }
  return std::nullopt;
}

Result<uint64_t> DataSize(DataType type, uint64_t values, std::string_view what) {
  const DataTypeTraits& traits = Traits(type);
  const auto block_values = static_cast<uint64_t>(traits.block_values);
  if (values % block_values != 0) {
    return Fail(ErrorCode::kMalformed, "{}: {} values are no whole number of {} blocks of {}", what,
                values, traits.name, block_values);
  }
  return CheckedProduct(values / block_values, static_cast<uint64_t>(traits.block_bytes), what);
}

Result<uint64_t> ElementCount(std::span<const int64_t> shape, std::string_view what) {
  uint64_t count = 1;
  for (const int64_t extent : shape) {
    if (extent < 0) {
      return Fail(ErrorCode::kMalformed, "{}: negative extent {} in its shape", what, extent);
    }
    ETCH_ASSIGN_OR_RETURN(count, CheckedProduct(count, static_cast<uint64_t>(extent), what));
    if (count > kMaxElements) {
      return Fail(ErrorCode::kMalformed, "{}: its shape has more than 2^62 elements", what);
    }
  }
  return count;
}

}  // namespace etch::formats
