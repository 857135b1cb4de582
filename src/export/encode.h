#pragma once

// The types that an export is written in, and how far a value can move when it is rounded to one.

#include <cstdint>
#include <span>
#include <string_view>

#include "base/error.h"
#include "formats/data_type.h"
#include "numerics/weights.h"

namespace etch::exporting {

using formats::DataType;

// "f32", "f16", "bf16", "q8_0"; kInvalidArgument for any other name.
Result<DataType> ParseExportType(std::string_view name);

// The type in which rows of `cols` values are written: `wanted`, or F16 when that is Q8_0 and its
// blocks of 32 do not fill a row.
DataType TypeForRows(DataType wanted, int64_t cols);

// Encodes one row into DataSize(type, row.size()) bytes. kUnsupported when a value is beyond the
// type's largest or not finite.
Status EncodeRow(DataType type, std::span<const float> row, std::span<std::byte> out);

// Encodes row `row` of a tiled matrix (numerics::IsTiled) as Q8_0. `values` is the row dequantised.
// Its groups of 32 are Q8_0's blocks and its levels are small integers, so the levels become codes
// as they are and only the step is rounded: to 11 bits, as F16 rounds a weight, where rounding the
// values would cost up to half a step. kUnsupported as EncodeRow.
Status EncodeTiledRow(const numerics::WeightView& view, int64_t row, std::span<const float> values,
                      std::span<std::byte> out);

// What |decoded - value| is at most for each value of a row that EncodeRow or EncodeTiledRow wrote.
void RoundingBounds(DataType type, std::span<const float> row, std::span<float> bounds);

}  // namespace etch::exporting
