#pragma once

// Random orders that are the same on every machine and library: what a run reads follows from its
// seed alone.

#include <cstdint>
#include <vector>

namespace etch::tune {

// SplitMix64 (Steele, Lea, Flood 2014). One is a state of 64 bits; any seed is good.
class SplitMix {
 public:
  explicit SplitMix(uint64_t seed) : state_(seed) {}
  uint64_t Next();
  // Uniform in [0, bound), bound > 0.
  uint64_t Below(uint64_t bound);

 private:
  uint64_t state_;
};

// A permutation of 0 … count-1: the order in which epoch `epoch` (from 0) reads `count` sequences.
// Depends on its arguments only, so that a resumed run needs no state to go on in it.
std::vector<int64_t> EpochOrder(uint64_t seed, int64_t epoch, int64_t count);

}  // namespace etch::tune
