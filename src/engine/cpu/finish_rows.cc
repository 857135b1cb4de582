#include "engine/cpu/finish_rows.h"

#include <cstring>

#include "numerics/fixed_point.h"

namespace etch::engine {

void FinishRows(const int32_t* sums, const uint8_t* mantissas, const uint8_t* powers, int exponent,
                int64_t rows, int32_t* out) {
  for (int64_t row = 0; row < rows; ++row) {
    uint16_t mantissa = 0;
    std::memcpy(&mantissa, mantissas + 2 * row, sizeof mantissa);
    out[row] = numerics::ShiftSaturate32(int64_t{sums[row]} * mantissa,
                                         static_cast<int8_t>(powers[row]) + exponent);
  }
}

}  // namespace etch::engine
