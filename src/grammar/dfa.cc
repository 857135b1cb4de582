#include "grammar/dfa.h"

#include <algorithm>
#include <utility>

namespace etch::grammar {
namespace {

// Bytes that either automaton tells apart.
ByteClasses Refine(const ByteClasses& left, const ByteClasses& right) {
  std::map<std::pair<uint8_t, uint8_t>, uint8_t> known;
  ByteClasses classes;
  for (size_t byte = 0; byte < 256; ++byte) {
    const auto [at, added] = known.emplace(std::pair(left.class_of[byte], right.class_of[byte]),
                                           static_cast<uint8_t>(known.size()));
    if (added) {
      classes.representatives.push_back(static_cast<uint8_t>(byte));
    }
    classes.class_of[byte] = at->second;
  }
  return classes;
}

// Lead bytes of UTF-8 apart from those that continue a character.
ByteClasses Lead() {
  std::bitset<257> cuts;
  cuts.set(0x80).set(0xC0);
  return ByteClasses::FromCuts(cuts);
}

}  // namespace

ByteClasses ByteClasses::FromCuts(std::bitset<257> cuts) {
  ByteClasses classes;
  for (size_t byte = 0; byte < 256; ++byte) {
    if (byte == 0 || cuts.test(byte)) {
      classes.representatives.push_back(static_cast<uint8_t>(byte));
    }
    classes.class_of[byte] = static_cast<uint8_t>(classes.representatives.size() - 1);
  }
  return classes;
}

Result<Dfa> Intersect(const Dfa& left, const Dfa& right, Budget& budget) {
  using Key = std::pair<DfaState, DfaState>;
  if (left.empty() || right.empty()) {
    return Trim(left.empty() ? left : right);
  }
  return Explore(
      Key{left.start, right.start}, Refine(left.classes, right.classes),
      [&](const Key& key, uint8_t byte) -> std::optional<Key> {
        const Key reached{left.Next(key.first, byte), right.Next(key.second, byte)};
        return reached.first == kDeadState || reached.second == kDeadState ? std::nullopt
                                                                           : std::optional(reached);
      },
      [&](const Key& key) { return right.accepts(key.second) ? left.labels[key.first] : 0U; },
      budget);
}

Result<Dfa> Unite(const Dfa& left, const Dfa& right, Budget& budget) {
  using Key = std::pair<DfaState, DfaState>;
  return Explore(
      Key{left.start, right.start}, Refine(left.classes, right.classes),
      [&](const Key& key, uint8_t byte) -> std::optional<Key> {
        const Key reached{left.Next(key.first, byte), right.Next(key.second, byte)};
        return reached == Key{kDeadState, kDeadState} ? std::nullopt : std::optional(reached);
      },
      [&](const Key& key) {
        return left.accepts(key.first) || right.accepts(key.second) ? 1U : 0U;
      },
      budget);
}

Result<Dfa> LimitLength(const Dfa& dfa, int64_t low, std::optional<int64_t> high, Budget& budget) {
  using Key = std::pair<DfaState, int64_t>;
  if (dfa.empty()) {
    return dfa;
  }
  return Explore(
      Key{dfa.start, 0}, Refine(dfa.classes, Lead()),
      [&](const Key& key, uint8_t byte) -> std::optional<Key> {
        const DfaState state = dfa.Next(key.first, byte);
        const bool begins = (byte & 0xC0) != 0x80;
        int64_t length = key.second + (begins ? 1 : 0);
        if (state == kDeadState || (high && length > *high)) {
          return std::nullopt;
        }
        if (!high) {
          length = std::min(length, low);
        }
        return Key{state, length};
      },
      [&](const Key& key) { return key.second >= low ? dfa.labels[key.first] : 0U; }, budget);
}

Dfa Trim(const Dfa& dfa) {
  const auto states = static_cast<size_t>(dfa.states());
  const size_t n_classes = dfa.classes.representatives.size();
  // Predecessors as one list, by counting.
  std::vector<uint32_t> first(states + 1, 0);
  for (const DfaState to : dfa.next) {
    ++first[to];
  }
  uint32_t sum = 0;
  for (uint32_t& count : first) {
    sum += std::exchange(count, sum);
  }
  std::vector<DfaState> before(dfa.next.size());
  std::vector<uint32_t> place(first.begin(), first.end() - 1);
  for (size_t edge = 0; edge < dfa.next.size(); ++edge) {
    before[place[dfa.next[edge]]++] = static_cast<DfaState>(edge / n_classes);
  }
  std::vector<bool> alive(states, false);
  std::vector<DfaState> work;
  for (DfaState state = 1; state < states; ++state) {
    if (dfa.labels[state] != 0) {
      alive[state] = true;
      work.push_back(state);
    }
  }
  while (!work.empty()) {
    const DfaState state = work.back();
    work.pop_back();
    for (uint32_t edge = first[state]; edge < first[state + 1]; ++edge) {
      if (before[edge] != kDeadState && !alive[before[edge]]) {
        alive[before[edge]] = true;
        work.push_back(before[edge]);
      }
    }
  }
  std::vector<DfaState> renamed(states, kDeadState);
  DfaState count = 1;
  for (DfaState state = 1; state < states; ++state) {
    renamed[state] = alive[state] ? count++ : kDeadState;
  }
  Dfa out;
  out.classes = dfa.classes;
  out.start = renamed[dfa.start];
  out.labels.assign(count, 0);
  out.next.assign(count * n_classes, kDeadState);
  for (DfaState state = 1; state < states; ++state) {
    if (alive[state]) {
      out.labels[renamed[state]] = dfa.labels[state];
      for (size_t index = 0; index < n_classes; ++index) {
        out.next[renamed[state] * n_classes + index] = renamed[dfa.next[state * n_classes + index]];
      }
    }
  }
  return out;
}

}  // namespace etch::grammar
