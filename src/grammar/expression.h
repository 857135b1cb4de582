#pragma once

// Regular expressions and the right sides of grammar rules as a tree, and their automata over
// bytes. Characters become sequences of UTF-8 bytes.

#include <cstdint>
#include <string_view>
#include <vector>

#include "grammar/dfa.h"
#include "grammar/limits.h"

namespace etch::grammar {

inline constexpr char32_t kLastCodePoint = 0x10FFFF;

struct CodeRange {
  char32_t low = 0;
  char32_t high = 0;  // inclusive
};

// Sorted, apart, without surrogates.
std::vector<CodeRange> Normalize(std::vector<CodeRange> ranges);
std::vector<CodeRange> Complement(const std::vector<CodeRange>& ranges);

struct Expression {
  enum class Kind {
    kSequence,   // of children; none: the empty text
    kChoice,     // one of the children
    kClass,      // one character of `ranges`
    kRepeat,     // the child `low` to `high` times
    kBegin,      // ^
    kEnd,        // $
    kReference,  // a text of rule `rule`
  };

  Kind kind = Kind::kSequence;
  std::vector<Expression> children;
  std::vector<CodeRange> ranges;
  int64_t low = 0;
  int64_t high = -1;  // -1: any number
  uint32_t rule = 0;
};

Expression Literal(std::string_view utf8);
Expression AnyCharacter();
Expression Repeat(Expression child, int64_t low, int64_t high);

// One node of a nondeterministic automaton; nodes are built from the end to the beginning.
struct NfaNode {
  enum class Kind : uint8_t { kByte, kSplit, kBegin, kEnd, kCall, kMatch };

  Kind kind = Kind::kMatch;
  uint8_t low = 0;  // kByte
  uint8_t high = 0;
  uint32_t to = 0;
  uint32_t value = 0;  // kSplit: the other way; kCall: the rule; kMatch: the label
};

class Nfa {
 public:
  uint32_t Add(const NfaNode& node) {
    nodes_.push_back(node);
    return static_cast<uint32_t>(nodes_.size() - 1);
  }
  // The node from which a text of `expression`, then what `next` takes, is read.
  Result<uint32_t> Build(const Expression& expression, uint32_t next, Budget& budget);

  const std::vector<NfaNode>& nodes() const { return nodes_; }
  NfaNode& node(uint32_t index) { return nodes_[index]; }

 private:
  Result<uint32_t> BuildClass(const std::vector<CodeRange>& ranges, uint32_t next, Budget& budget);
  Result<uint32_t> BuildRepeat(const Expression& expression, uint32_t next, Budget& budget);

  std::vector<NfaNode> nodes_;
};

// An automaton without calls, made deterministic. A state's label is 0, or 1 + the index in
// `label_sets` of the sorted labels of the matches that it reaches.
struct LabelledDfa {
  Dfa dfa;
  std::vector<std::vector<uint32_t>> label_sets;
};
Result<LabelledDfa> Determinize(const Nfa& nfa, uint32_t start, Budget& budget);

// The texts of `expression` as a whole, with label 1.
Result<Dfa> ToDfa(const Expression& expression, Budget& budget);

// The UTF-8 forms of the characters `low` to `high`, as sequences of byte ranges.
struct ByteRange {
  uint8_t low = 0;
  uint8_t high = 0;
};
std::vector<std::vector<ByteRange>> Utf8Sequences(char32_t low, char32_t high);

}  // namespace etch::grammar
