#pragma once

// The block decoders behind Dequantize(): each reads one block of its type
// (Traits(type).block_bytes bytes) and writes its values (Traits(type).block_values floats).

#include <cstddef>

#include "formats/data_type.h"

namespace etch::formats::internal {

using BlockDecoder = void (*)(const std::byte* block, float* out);

// Null for types without blocks and types that are not readable.
BlockDecoder FindSmallBlockDecoder(DataType type);  // blocks of 32
BlockDecoder FindKBlockDecoder(DataType type);      // blocks of 256

}  // namespace etch::formats::internal
