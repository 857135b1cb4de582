#pragma once

// Random numbers that depend only on where they are used, never on what was drawn before: a run
// that resumes, or is split over processes, draws the same.

#include <cstdint>

namespace etch::tune {

// Steele, Lea and Flood's SplitMix64: Mix of a state is its next number, and kMixStep further the
// state behind it.
inline constexpr uint64_t kMixStep = 0x9E3779B97F4A7C15U;
constexpr uint64_t Mix(uint64_t value) {
  value += kMixStep;
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9U;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EBU;
  return value ^ (value >> 31);
}

constexpr uint64_t RandomAt(uint64_t seed, uint64_t stream, uint64_t index) {
  return Mix(Mix(Mix(seed) ^ stream) ^ index);
}

// In [0, 1), 24 bits.
constexpr float UniformAt(uint64_t seed, uint64_t stream, uint64_t index) {
  return static_cast<float>(RandomAt(seed, stream, index) >> 40) * 0x1p-24F;
}

}  // namespace etch::tune
