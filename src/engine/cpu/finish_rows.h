#pragma once

// The last step of a linear layer for rows that the vector kernels leave to the definition: those
// whose scale is a shift up. Compiled for any processor.

#include <cstdint>

namespace etch::engine {

// out[row] = sums[row] · mantissa · 2^(row exponent + exponent), rounded and saturated, for `rows`
// rows. `mantissas` (u16, little-endian) and `powers` (i8) are those of the rows in the header of
// their tile (numerics/weights.h).
void FinishRows(const int32_t* sums, const uint8_t* mantissas, const uint8_t* powers, int exponent,
                int64_t rows, int32_t* out);

}  // namespace etch::engine
