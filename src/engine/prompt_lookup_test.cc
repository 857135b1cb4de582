#include "engine/prompt_lookup.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>

namespace etch::engine {
namespace {

using model::TokenId;
using Tokens = std::vector<TokenId>;

struct Proposal {
  int64_t match = 0;
  Tokens draft;
  bool operator==(const Proposal&) const = default;
};

Proposal Propose(const PromptLookup& lookup, const Tokens& sequence, int64_t most) {
  Proposal proposal;
  proposal.match = lookup.Propose(sequence, most, proposal.draft);
  return proposal;
}

Proposal ProposeOnce(const Tokens& sequence, int64_t most) {
  PromptLookup lookup;
  lookup.Extend(sequence);
  return Propose(lookup, sequence, most);
}

// The definition, by search over the whole sequence.
Proposal Search(const Tokens& sequence, int64_t most) {
  const int64_t size = std::ssize(sequence);
  const auto agree = [&](int64_t end) {  // tokens before `end` that equal those at the end
    int64_t count = 0;
    while (count < end && sequence[static_cast<size_t>(end - count - 1)] ==
                              sequence[static_cast<size_t>(size - count - 1)]) {
      ++count;
    }
    return count;
  };
  for (int64_t length = PromptLookup::kLongest; length >= PromptLookup::kShortest; --length) {
    for (int64_t end = size - 1; end >= length; --end) {
      if (agree(end) >= length) {
        Proposal found{std::min(agree(end), PromptLookup::kMatchCap), {}};
        Tokens longer = sequence;
        for (int64_t index = 0; index < most; ++index) {
          longer.push_back(longer[static_cast<size_t>(end + index)]);
        }
        found.draft.assign(longer.begin() + size, longer.end());
        return found;
      }
    }
  }
  return {};
}

TEST(PromptLookup, CopiesWhatFollowed) {
  EXPECT_EQ(ProposeOnce({1, 2, 3, 4, 5, 6, 9, 1, 2}, 3), (Proposal{2, {3, 4, 5}}));
  // Three tokens agree before the latest 2 3, four before the first: the longest wins.
  EXPECT_EQ(ProposeOnce({7, 1, 2, 3, 4, 0, 1, 2, 3, 5, 7, 1, 2, 3}, 2), (Proposal{4, {4, 0}}));
  // Two occurrences of the same length: the latest wins.
  EXPECT_EQ(ProposeOnce({1, 2, 3, 9, 1, 2, 4, 8, 1, 2}, 1), (Proposal{2, {4}}));
}

TEST(PromptLookup, SaysNothingWithoutAnEarlierOccurrence) {
  EXPECT_EQ(ProposeOnce({}, 4), Proposal{});
  EXPECT_EQ(ProposeOnce({1}, 4), Proposal{});
  EXPECT_EQ(ProposeOnce({1, 2}, 4), Proposal{});
  EXPECT_EQ(ProposeOnce({1, 2, 3, 4, 1, 3, 2}, 4), Proposal{});
  // One token alone is no n-gram.
  EXPECT_EQ(ProposeOnce({5, 6, 5}, 4), Proposal{});
}

TEST(PromptLookup, ContinuesALoop) {
  EXPECT_EQ(ProposeOnce({4, 4, 4}, 5), (Proposal{2, {4, 4, 4, 4, 4}}));
  EXPECT_EQ(ProposeOnce({9, 1, 2, 3, 1, 2}, 7), (Proposal{2, {3, 1, 2, 3, 1, 2, 3}}));
}

TEST(PromptLookup, CountsTheMatchUpToItsCap) {
  Tokens sequence(30);
  for (size_t index = 0; index < sequence.size(); ++index) {
    sequence[index] = static_cast<TokenId>(index % 15);
  }
  EXPECT_EQ(ProposeOnce(sequence, 1), (Proposal{PromptLookup::kMatchCap, {0}}));
}

TEST(PromptLookup, ForgetsWhenCleared) {
  PromptLookup lookup;
  lookup.Extend(Tokens{1, 2, 3, 1, 2});
  lookup.Clear();
  const Tokens other = {1, 2, 4, 1, 2};
  lookup.Extend(other);
  EXPECT_EQ(Propose(lookup, other, 1), (Proposal{2, {4}}));
}

RC_GTEST_PROP(PromptLookup, IsTheSearchWhateverTheSteps, ()) {
  const auto vocabulary = *rc::gen::inRange<TokenId>(1, 12);
  const auto size = *rc::gen::inRange<size_t>(0, 400);
  const auto sequence = *rc::gen::container<Tokens>(size, rc::gen::inRange<TokenId>(0, vocabulary));
  const auto step = *rc::gen::inRange<size_t>(1, 40);
  PromptLookup lookup;
  for (size_t end = 0; end <= sequence.size(); end += step) {
    const Tokens part(sequence.begin(), sequence.begin() + static_cast<std::ptrdiff_t>(end));
    lookup.Extend(part);
    RC_ASSERT(Propose(lookup, part, 8) == Search(part, 8));
  }
}

}  // namespace
}  // namespace etch::engine
