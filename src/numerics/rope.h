#pragma once

// Rotary position embedding in integers. docs/numeric-contract.md §8.

#include <cstdint>
#include <span>

#include "numerics/tables.h"

namespace etch::numerics {

// The rotations of every pair at `position`, 14 fraction bits. One composition a token serves all
// heads and layers.
void RotationsAt(std::span<const Rotation> high, std::span<const Rotation> low, int64_t pairs,
                 int64_t position, std::span<Rotation> out);

// Rotates the adjacent pairs (2i, 2i+1) of one head in place; I32, saturating. head holds 2 *
// rotations.size() values.
void RotateHead(std::span<const Rotation> rotations, std::span<int32_t> head);

}  // namespace etch::numerics
