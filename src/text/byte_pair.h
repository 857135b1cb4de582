#pragma once

// Byte pair encoding of one piece of text: the neighbours with the best merge become one symbol,
// again and again.

#include <cstdint>
#include <string_view>
#include <vector>

#include "text/merge_table.h"

namespace etch::text {

// A stretch of a piece: its token, or kNoToken while it is none.
struct Symbol {
  model::TokenId token = model::kNoToken;
  uint32_t begin = 0;  // byte in the piece
  uint32_t size = 0;   // bytes; 0 once it was merged into its left neighbour
};

// Reusable memory of Run; one per thread.
class BytePairMerger {
 public:
  // Merges `symbols` of `piece` (below 2^31 bytes, left to right) until nothing can be merged; what
  // is left stays in order. O(n log n) table look-ups and heap steps.
  void Run(const MergeTable& table, std::string_view piece, std::vector<Symbol>& symbols);

 private:
  // A pair that could merge when it was met. Stale once one of the two has changed, which its size
  // tells: symbols only ever grow.
  struct Candidate {
    uint64_t order =
        0;              // priority << 32 | index of the left symbol: equal priorities go left first
    uint32_t size = 0;  // of both
    model::TokenId result = model::kNoToken;
  };
  struct Link {
    int32_t previous = 0;
    int32_t next = 0;
  };

  void Consider(const MergeTable& table, std::string_view piece, const std::vector<Symbol>& symbols,
                int32_t left);

  std::vector<Candidate> heap_;
  std::vector<Link> links_;
};

}  // namespace etch::text
