#pragma once

#include <cstdint>

#include "numerics/fixed_point.h"

namespace etch::engine {

// numerics::BlockShift without a call or a branch: the first shift tried is right or one too small
// (docs/numeric-contract.md §14). Always inlined, because the units of the instruction sets may not
// leave symbols that another could use.
inline __attribute__((always_inline)) int BlockShift(uint64_t magnitude, int32_t max_code) {
  const int bits =
      numerics::BitLength(magnitude) - numerics::BitLength(static_cast<uint64_t>(max_code));
  const int shift = bits < 0 ? 0 : bits;
  const uint64_t rounded = (magnitude + ((uint64_t{1} << shift) >> 1)) >> shift;
  return shift + (rounded > static_cast<uint64_t>(max_code) ? 1 : 0);
}

}  // namespace etch::engine
