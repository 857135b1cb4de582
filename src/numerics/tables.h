#pragma once

// The function tables of the contract: exp2, sigmoid, reciprocal square root, and rotary angles.
// They are built once by the compiler and travel in the image; inference does no transcendental
// arithmetic. docs/numeric-contract.md §3.

#include <array>
#include <cstdint>
#include <vector>

#include "base/error.h"
#include "model/config.h"

namespace etch::numerics {

inline constexpr int kExp2Bits = 24;      // 1.0 is 2^24
inline constexpr int kSigmoidBits = 16;   // 1.0 is 2^16
inline constexpr int kRsqrtBits = 30;     // 1.0 is 2^30
inline constexpr int kAngleBits = 30;     // table entries; composed angles have kRotationBits
inline constexpr int kRotationBits = 14;  // 1.0 is 2^14
inline constexpr int64_t kAngleStride = 256;

struct FunctionTables {
  std::array<int32_t, 65> exp2;  // round(2^24 * 2^(-i/64))
  std::array<int32_t, 513>
      sigmoid;  // round(2^16 / (1 + e^-x)) at x = i/16 - 16; entry 0 is 0, entry 512 is 2^16
  std::array<int32_t, 192> rsqrt;  // round(2^30 / sqrt(1 + (i + 1/2)/64)), for arguments in [1, 4)
  bool operator==(const FunctionTables&) const = default;
};

FunctionTables BuildFunctionTables();

// kMalformed unless the tables are monotone and inside the bounds that the proofs of the contract
// use.
Status Validate(const FunctionTables& tables);

// Cosine and sine of one angle, 30 fraction bits (tables) or 14 (composed).
struct Rotation {
  int32_t cosine = 0;
  int32_t sine = 0;
  bool operator==(const Rotation&) const = default;
};

// Angles of position p for pair i: p = 256*high + low, so two small tables give every position of
// the context.
struct RopeTables {
  int64_t pairs = 0;           // head_dim / 2
  std::vector<Rotation> high;  // (ceil(context/256), pairs): angles 256*row*frequency
  std::vector<Rotation> low;   // (256, pairs): angles row*frequency
};

RopeTables BuildRopeTables(const model::Config& config);

// The rotation of one position and pair with 14 fraction bits: the product of its two table
// entries, rounded once. Entries lie in ±2^30; the image's reader checks it.
Rotation ComposeRotation(Rotation high, Rotation low);

}  // namespace etch::numerics
