#pragma once

// Block formats of activations: A8 and A16 (inputs of linear layers), A14 (queries and keys), A8
// (values). Blocks of 32 share a power-of-two exponent, the smallest with which every rounded code
// fits. docs/numeric-contract.md §4.

#include <cstdint>
#include <span>
#include <vector>

namespace etch::numerics {

inline constexpr int64_t kBlock = 32;

// Values are stored in images; never renumber.
enum class ActivationFormat : uint8_t { kA8 = 0, kA16 = 1 };

// Largest code magnitudes. A16 leaves room for a split into two signed 8-bit planes (code =
// 256*high + low); A14 lets 32 products of two codes stay inside 32 bits.
inline constexpr int32_t kMaxA8 = 127;
inline constexpr int32_t kMaxA16 = 127 * 256 + 127;
inline constexpr int32_t kMaxA14 = 8191;

constexpr int32_t MaxCode(ActivationFormat format) {
  return format == ActivationFormat::kA8 ? kMaxA8 : kMaxA16;
}

// Blocks of one input vector may not lie further apart than this many powers of two; smaller blocks
// are coarsened.
inline constexpr int kMaxShiftSpread = 15;

// The input of a linear layer: element i is codes[i] * 2^(shifts[i/32] - point). Padded with zeros
// to whole blocks.
struct Activation {
  ActivationFormat format = ActivationFormat::kA8;
  int point = 0;      // fraction bits of the vector that was quantised: 16, or 32 for products
  int max_shift = 0;  // largest of `shifts`
  std::vector<int16_t> codes;
  std::vector<uint8_t> shifts;  // one a block, each ≥ max_shift - 15

  int64_t blocks() const { return static_cast<int64_t>(shifts.size()); }
};

// The smallest shift with which max_magnitude, rounded, is at most max_code.
int BlockShift(uint64_t max_magnitude, int32_t max_code);

// Quantises an I32/R32 vector (point 16) or a vector of 64-bit products (point 32, |value| < 2^62).
// Reuses the memory of `out`.
void QuantizeActivation(std::span<const int32_t> values, ActivationFormat format, Activation& out);
void QuantizeActivation(std::span<const int64_t> values, int point, ActivationFormat format,
                        Activation& out);

// One block of at most 32 values of a query, key or value (point 16) → codes; returns its shift.
uint8_t QuantizeBlock(std::span<const int32_t> values, int32_t max_code, std::span<int16_t> codes);

}  // namespace etch::numerics
