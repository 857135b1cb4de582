#pragma once

// SwiGLU in integers: gate · sigmoid(gate) · up. docs/numeric-contract.md §10.

#include <cstdint>
#include <span>

#include "numerics/tables.h"

namespace etch::numerics {

// sigmoid(x), 16 fraction bits both; exactly 0 at x ≤ -16 and 1 at x ≥ 16.
int32_t Sigmoid(int32_t x, const FunctionTables& tables);

// round(gate · sigmoid(gate)) · up: the exact 64-bit product, 32 fraction bits; |result| < 2^62.
int64_t SwiGlu(int32_t gate, int32_t up, const FunctionTables& tables);

}  // namespace etch::numerics
