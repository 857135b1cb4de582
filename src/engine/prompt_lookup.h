#pragma once

// Guesses how a sequence goes on by finding where its last tokens stood before, and copying what
// followed there: answers that quote, edit or extract repeat their prompt. No second model.

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "model/vocabulary.h"

namespace etch::engine {

// An index over one growing sequence, which the caller holds and hands to every call. A token costs
// a few hash look-ups, whatever the length; at most 48 bytes are kept for each.
class PromptLookup {
 public:
  static constexpr int64_t kLongest = 4;   // tokens of the longest n-gram that is indexed
  static constexpr int64_t kShortest = 2;  // and of the shortest
  static constexpr int64_t kMatchCap = 8;  // a longer match counts as this

  // Enters what `sequence` has grown by since the last call.
  void Extend(std::span<const model::TokenId> sequence);
  // Forgets everything; the next Extend enters its sequence from the start.
  void Clear();

  // Fills `draft` with `most` tokens that followed the latest earlier occurrence of the longest
  // n-gram at the end of `sequence`, which Extend has seen. A copy that reaches the end of the
  // sequence goes on into itself, so a loop is continued. Returns how many tokens before the draft
  // agree, up to kMatchCap; 0, with an empty draft, when no n-gram occurred before.
  int64_t Propose(std::span<const model::TokenId> sequence, int64_t most,
                  std::vector<model::TokenId>& draft) const;

 private:
  // Open addressing. A slot holds the position behind the latest occurrence of an n-gram, 0 when
  // empty; at most half of the slots are used.
  struct Table {
    std::vector<int32_t> slots;
    int64_t used = 0;
  };

  std::array<Table, kLongest - kShortest + 1> tables_;
  int64_t entered_ = 0;  // tokens of the sequence that stand behind their n-grams in the tables
};

}  // namespace etch::engine
