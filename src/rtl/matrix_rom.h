#pragma once

// Matrices as the fabric's lanes read them: a tile of `lanes` rows column by column, the groups'
// parameters beside them, and the row scales.

#include <cstdint>

#include "numerics/weights.h"
#include "rtl/rom.h"

namespace etch::rtl {

// The base: three bits a lane in `codes` (W6: a word with the high three bits of each code, then
// one with the low three), six a lane in `params` (W3: scale in bits 4-0, table in bit 5; W6: the
// scale), 24 bits a row in `rows` (mantissa in bits 15-0, exponent above). Lanes without a row are
// zero.
struct BaseRoms {
  explicit BaseRoms(int64_t lanes) : codes(3 * lanes), params(6 * lanes) {}
  Rom codes;
  Rom params;
  Rom rows{24};
};

// Appends a matrix of W3 or W6.
void AppendMatrix(const numerics::WeightView& view, int64_t lanes, BaseRoms& roms);

// An adapter's matrix (W8) for 32 lanes of 8 bits.
inline constexpr int64_t kAdapterLanes = 32;
struct AdapterRoms {
  Rom codes{8 * kAdapterLanes};
  Rom rows{24};
};
void AppendAdapterMatrix(const numerics::WeightView& view, AdapterRoms& roms);

}  // namespace etch::rtl
