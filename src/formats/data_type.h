#pragma once

// How one tensor's values lie in a file: plain numbers, or blocks of quantised ones. One
// enumeration serves safetensors and GGUF; a type can be known (its size is certain, so a file with
// it is well-formed) without being readable (see dequantize.h).

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "base/error.h"

namespace etch::formats {

enum class DataType : uint8_t {
  kF64,
  kF32,
  kF16,
  kBf16,
  kF8E4m3,
  kF8E5m2,
  kF8E8m0,
  kBool,
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kU64,
  kI64,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,
  kQ8_1,
  kQ2K,
  kQ3K,
  kQ4K,
  kQ5K,
  kQ6K,
  kQ8K,
  kIq2Xxs,
  kIq2Xs,
  kIq3Xxs,
  kIq1S,
  kIq4Nl,
  kIq3S,
  kIq2S,
  kIq4Xs,
  kIq1M,
  kTq1_0,
  kTq2_0,
  kMxfp4,
};

struct DataTypeTraits {
  DataType type;
  std::string_view name;  // "BF16", "Q4_K": as safetensors or llama.cpp spell it
  int64_t block_values;   // values a block; 1 for plain numbers
  int64_t block_bytes;    // bytes a block
  int32_t gguf_code;      // ggml's number of the type; -1 when GGUF has none
  bool in_safetensors;    // a dtype of safetensors
  bool readable;          // Dequantize() turns it into floats
};

const DataTypeTraits& Traits(DataType type);

// The type that GGUF calls `code`, or that safetensors calls `name`; empty when Etch does not know
// it.
std::optional<DataType> DataTypeFromGguf(uint32_t code);
std::optional<DataType> DataTypeFromSafetensors(std::string_view name);

// Bytes of `values` values; kMalformed, naming `what`, when they are no whole number of blocks or
// the size overflows.
Result<uint64_t> DataSize(DataType type, uint64_t values, std::string_view what);

// Product of `shape`; kMalformed, naming `what`, on a negative extent or above 2^62. An empty shape
// is a scalar: 1.
Result<uint64_t> ElementCount(std::span<const int64_t> shape, std::string_view what);

}  // namespace etch::formats
