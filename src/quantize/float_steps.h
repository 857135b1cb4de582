#pragma once

// What the search for W4F scales needs of the format: rounding to its levels, and a grid of steps.

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace etch::quantize {

// Where the magnitudes of W4F change, and by how much.
inline constexpr std::array<float, 7> kFloatThresholds = {0.5F, 1.5F, 2.5F, 3.5F,
                                                          5.0F, 7.0F, 10.0F};
inline constexpr std::array<float, 7> kFloatSteps = {1.0F, 1.0F, 1.0F, 1.0F, 2.0F, 2.0F, 4.0F};
inline constexpr int kMaxHalvings = 15;
// The grid of W4F steps: 2^(k/8).
inline constexpr int kGrid = 8;
inline constexpr std::array<float, kGrid> kEighths = {1.0F,        1.09050773F, 1.18920712F,
                                                      1.29683955F, 1.41421356F, 1.54221083F,
                                                      1.68179283F, 1.83400809F};
// Steps that can be best put the largest weight of the group between these levels.
inline constexpr float kHighestPlace = 16.0F;
inline constexpr float kLowestPlace = 5.6F;

// The level of W4F nearest to y.
inline float FloatLevel(float y) {
  const float magnitude = std::abs(y);
  float level = 0.0F;
  for (size_t rank = 0; rank < kFloatSteps.size(); ++rank) {
    level += magnitude > kFloatThresholds[rank] ? kFloatSteps[rank] : 0.0F;
  }
  return y < 0.0F ? -level : level;
}

// Its code; zero has the positive one.
inline int8_t FloatCode(float y) {
  int rank = 0;
  for (const float threshold : kFloatThresholds) {
    rank += std::abs(y) > threshold ? 1 : 0;
  }
  return static_cast<int8_t>(rank > 0 && y < 0.0F ? rank + 8 : rank);
}

// Steps a whole number of octaves apart have the same fraction.
inline size_t FractionOf(int index) { return static_cast<size_t>(index & (kGrid - 1)); }

// Step `index` of the grid.
inline float GridStep(int index) { return std::ldexp(kEighths[FractionOf(index)], index >> 3); }

// The first step of the grid that is not below `step` (above 0).
inline int GridIndex(float step) {
  int octave = 0;
  const float fraction = 2.0F * std::frexp(step, &octave);  // 1 … 2
  int index = 0;
  while (index < kGrid && kEighths[static_cast<size_t>(index)] < fraction) {
    ++index;
  }
  return kGrid * (octave - 1) + index;
}

}  // namespace etch::quantize
