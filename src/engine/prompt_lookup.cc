// One table for each length of n-gram, keyed by the tokens themselves (the slot points into the
// sequence, so no copy of an n-gram is kept and a hash collision is never taken for a match). An
// n-gram enters its table only when the token behind it is known: the end of the sequence never
// finds itself. A suffix tree would find the longest match of any length, for ten times the memory;
// beyond four tokens the match is lengthened by comparing backwards, which only serves to judge it.

#include "engine/prompt_lookup.h"

#include <algorithm>

namespace etch::engine {
namespace {

using model::TokenId;
using Tokens = std::span<const TokenId>;

constexpr size_t kFirstSlots = 64;

// The `length` tokens before `position`.
Tokens Before(Tokens sequence, int64_t position, int64_t length) {
  return sequence.subspan(static_cast<size_t>(position - length), static_cast<size_t>(length));
}

// The slot of an n-gram: the one that holds it, or the empty one where it belongs.
size_t FindSlot(const std::vector<int32_t>& slots, Tokens sequence, Tokens ngram) {
  uint64_t hash = 0;
  for (const TokenId token : ngram) {
    hash = (hash ^ static_cast<uint32_t>(token)) * 0x9E3779B97F4A7C15U;  // 2^64 / golden ratio
    hash ^= hash >> 32;
  }
  size_t slot = hash & (slots.size() - 1);
  while (slots[slot] != 0 &&
         !std::ranges::equal(Before(sequence, slots[slot], std::ssize(ngram)), ngram)) {
    slot = (slot + 1) & (slots.size() - 1);
  }
  return slot;
}

}  // namespace

void PromptLookup::Clear() {
  tables_ = {};
  entered_ = 0;
}

void PromptLookup::Extend(Tokens sequence) {
  for (; entered_ < std::ssize(sequence); ++entered_) {
    for (int64_t length = kShortest; length <= std::min(kLongest, entered_); ++length) {
      Table& table = tables_[static_cast<size_t>(length - kShortest)];
      if (2 * (table.used + 1) > std::ssize(table.slots)) {
        std::vector<int32_t> wider(std::max(kFirstSlots, 2 * table.slots.size()));
        for (const int32_t position : table.slots) {
          if (position != 0) {
            wider[FindSlot(wider, sequence, Before(sequence, position, length))] = position;
          }
        }
        table.slots = std::move(wider);
      }
      int32_t& slot =
          table.slots[FindSlot(table.slots, sequence, Before(sequence, entered_, length))];
      table.used += slot == 0 ? 1 : 0;
      slot = static_cast<int32_t>(entered_);
    }
  }
}

int64_t PromptLookup::Propose(Tokens sequence, int64_t most, std::vector<TokenId>& draft) const {
  draft.clear();
  const int64_t size = std::ssize(sequence);
  for (int64_t length = std::min(kLongest, size); length >= kShortest; --length) {
    const std::vector<int32_t>& slots = tables_[static_cast<size_t>(length - kShortest)].slots;
    if (slots.empty()) {
      continue;
    }
    const int64_t found = slots[FindSlot(slots, sequence, Before(sequence, size, length))];
    if (found == 0) {
      continue;
    }
    for (int64_t index = 0; index < most; ++index) {
      const int64_t from = found + index;
      draft.push_back(from < size ? sequence[static_cast<size_t>(from)]
                                  : draft[static_cast<size_t>(from - size)]);
    }
    int64_t match = length;
    while (match < kMatchCap && match < found &&
           sequence[static_cast<size_t>(found - match - 1)] ==
               sequence[static_cast<size_t>(size - match - 1)]) {
      ++match;
    }
    return match;
  }
  return 0;
}

}  // namespace etch::engine
