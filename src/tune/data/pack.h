#pragma once

// Samples as the sequences that training reads, several to a sequence or one to each.

#include <cstdint>
#include <span>
#include <vector>

#include "base/error.h"
#include "tune/data/encode.h"

namespace etch::tune {

struct Sequence {
  std::vector<TokenId> tokens;
  std::vector<uint8_t> trained;  // as in Sample; 0 at each start of a segment
  // Where each sample begins, ascending, the first 0. Attention and positions restart there, so
  // that no sample sees another.
  std::vector<int64_t> segment_starts;
};

// Fills sequences of at most `length` tokens: the samples in an order shuffled by `seed`, longest
// first, each into the first sequence that has room (first fit decreasing: at most 11/9 of the
// fewest sequences possible, and 1). n log n. The order of the sequences is shuffled, too.
// kInvalidArgument when a sample is longer than `length`.
Result<std::vector<Sequence>> PackSamples(std::span<const Sample> samples, int64_t length,
                                          uint64_t seed);

// Each sample a sequence, in order.
std::vector<Sequence> UnpackedSequences(std::span<const Sample> samples);

}  // namespace etch::tune
