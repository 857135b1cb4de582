#pragma once

// A compiled constraint: the tables that the machine reads. JSON texts are described by value nodes
// (what may stand at one place), grammars by an automaton with calls, patterns by one automaton.

#include <array>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "grammar/dfa.h"
#include "grammar/expression.h"
#include "grammar/limits.h"

namespace etch::grammar {

// Sets of property classes.
using ClassSet = std::vector<uint64_t>;

// Of nodes that no text satisfies.
inline constexpr int32_t kNever = std::numeric_limits<int32_t>::max() / 4;
inline constexpr uint32_t kNoNode = UINT32_MAX;

inline constexpr std::array<std::string_view, 3> kLiterals = {"null", "false", "true"};

struct Alternative {
  enum class Kind : uint8_t { kLiteral, kNumber, kString, kArray, kObject };
  Kind kind = Kind::kLiteral;
  uint32_t index = 0;  // of kLiterals, dfas, strings, arrays or objects

  auto operator<=>(const Alternative&) const = default;
};

struct ValueNode {
  std::vector<Alternative> alternatives;
  // Of the flattest value: arrays and objects inside of each other; kNever when there is none.
  int32_t height = kNever;
};

// A string whose decoded characters an automaton takes. Lengths are counted apart from the
// automaton only where it takes every string.
struct StringNode {
  uint32_t dfa = 0;
  int64_t low = 0;
  int64_t high = -1;  // -1: any
};

struct ArrayNode {
  std::vector<uint32_t> prefix;  // value nodes of the first items
  uint32_t rest = 0;             // and of the others
  // The same for items that also match "contains"; used when contains_low > 0.
  std::vector<uint32_t> prefix_hit;
  uint32_t rest_hit = 0;
  int64_t contains_low = 0;
  int64_t low = 0;
  int64_t high = -1;
  int32_t height = kNever;
};

// Property names fall into classes: one for each declared name, and one for each set of patterns
// that other names match. Every property of a class has the same value node.
struct ObjectNode {
  Dfa keys;                            // label 1 + class
  std::vector<ClassSet> reach;         // by state of `keys`: classes of the names it can become
  std::vector<uint32_t> values;        // by class: value node, or kNoNode where no name fits
  std::vector<int32_t> heights;        // by class: of the value and of what dependentRequired adds
  uint32_t declared = 0;               // the first classes are single names and come at most once
  ClassSet required;                   // of these
  std::vector<ClassSet> needed_along;  // by declared class: dependentRequired; empty when unused
  int64_t low = 0;
  int64_t high = -1;
  int32_t height = kNever;
};

struct Program {
  enum class Kind { kJson, kRegex, kRules };

  Kind kind = Kind::kJson;
  Limits limits;
  std::vector<Dfa> dfas;  // kRegex: the first

  // kJson
  std::vector<StringNode> strings;
  std::vector<ArrayNode> arrays;
  std::vector<ObjectNode> objects;
  std::vector<ValueNode> values;
  uint32_t root = 0;  // value node
  // Around the value, byte by byte.
  std::string prefix;
  std::string suffix;

  // kRules
  std::vector<NfaNode> nodes;
  std::vector<uint32_t> rule_starts;
  std::vector<uint32_t> needs;     // by node: open rules on the flattest way to the end of its rule
  std::vector<bool> only_matches;  // by node: the end of its rule, whatever follows
  uint32_t root_rule = 0;
};

}  // namespace etch::grammar
