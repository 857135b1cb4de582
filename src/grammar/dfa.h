#pragma once

// Deterministic automata over bytes: what patterns, enumerations, numbers and property names
// become. State 0 is dead; from every other state an accepting one can be reached, so a text that
// is alive can be finished.

#include <array>
#include <bitset>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "grammar/limits.h"

namespace etch::grammar {

using DfaState = uint32_t;
inline constexpr DfaState kDeadState = 0;

// Bytes that no automaton of a construction tells apart.
struct ByteClasses {
  std::array<uint8_t, 256> class_of{};
  std::vector<uint8_t> representatives;  // one byte a class

  // `cuts` has a bit at every byte that begins a class.
  static ByteClasses FromCuts(std::bitset<257> cuts);
};

struct Dfa {
  DfaState start = kDeadState;
  ByteClasses classes;
  std::vector<DfaState> next;    // (states, classes)
  std::vector<uint32_t> labels;  // by state; 0: not accepting

  DfaState Next(DfaState state, uint8_t byte) const {
    return next[state * classes.representatives.size() + classes.class_of[byte]];
  }
  bool accepts(DfaState state) const { return labels[state] != 0; }
  bool empty() const { return start == kDeadState; }
  int64_t states() const { return static_cast<int64_t>(labels.size()); }
};

// The texts of both; labels are those of `left`.
Result<Dfa> Intersect(const Dfa& left, const Dfa& right, Budget& budget);
// The texts of either, with label 1.
Result<Dfa> Unite(const Dfa& left, const Dfa& right, Budget& budget);
// The texts of `dfa`, which are UTF-8, with `low` to `high` characters.
Result<Dfa> LimitLength(const Dfa& dfa, int64_t low, std::optional<int64_t> high, Budget& budget);

// Drops the states that no accepting state can be reached from.
Dfa Trim(const Dfa& dfa);

// The automaton whose states are what `step` reaches from `start`: step(key, byte) is the next key
// or nothing, label(key) is 0 for keys that do not accept.
template <class Key, class Step, class Label>
Result<Dfa> Explore(const Key& start, const ByteClasses& classes, const Step& step,
                    const Label& label, Budget& budget) {
  Dfa dfa;
  dfa.classes = classes;
  const size_t n_classes = classes.representatives.size();
  std::map<Key, DfaState> known;
  std::vector<const Key*> order;  // keys stay where they are in the map
  const auto state_of = [&](const Key& key) {
    const auto [at, added] = known.emplace(key, static_cast<DfaState>(order.size() + 1));
    if (added) {
      order.push_back(&at->first);
    }
    return at->second;
  };
  dfa.start = state_of(start);
  dfa.labels.push_back(0);
  dfa.next.assign(n_classes, kDeadState);
  for (size_t done = 0; done < order.size(); ++done) {
    ETCH_TRY(budget.Spend(static_cast<int64_t>(n_classes) + 8));
    const Key& key = *order[done];
    dfa.labels.push_back(label(key));
    for (const uint8_t byte : classes.representatives) {
      const std::optional<Key> reached = step(key, byte);
      dfa.next.push_back(reached ? state_of(*reached) : kDeadState);
    }
  }
  return Trim(dfa);
}

}  // namespace etch::grammar
