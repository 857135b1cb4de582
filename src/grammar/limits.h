#pragma once

// What compiling a constraint may cost, and what a constraint may hold. Untrusted schemas, patterns
// and grammars reach the compilers, so every loop in them is paid for out of one budget.

#include <cstddef>
#include <cstdint>

#include "base/error.h"

namespace etch::grammar {

struct Limits {
  size_t source_bytes = 256 << 10;  // of a schema, pattern or grammar
  int64_t work = 12'000'000;        // steps of compiling; a step is about 10 ns and at most 8 bytes
  int64_t schema_nodes = 20'000;    // compiled value, array and object nodes
  int64_t branches = 512;           // ways in which one value may satisfy anyOf, oneOf and enum
  int64_t repeat = 10'000;          // the largest count in {m,n}
  int nesting = 64;                 // arrays and objects in the text
  int rule_depth = 256;             // open rules of a grammar in the text
  // White space between two parts of a JSON text: one space, or a line's end and an indentation of
  // at most so many bytes; a text may not drift into nothing but spaces. With free_space any white
  // space of so many bytes.
  int whitespace = 24;
  bool free_space = false;
};

// Work that is left. Exhausted work is an error that says which limit was met.
class Budget {
 public:
  explicit Budget(const Limits& limits) : limits_(limits), left_(limits.work) {}

  Status Spend(int64_t steps) {
    left_ -= steps;
    if (left_ < 0) {
      return Fail(ErrorCode::kInvalidArgument,
                  "the constraint is too complex: compiling it takes more than {} steps",
                  limits_.work);
    }
    return {};
  }
  const Limits& limits() const { return limits_; }
  int64_t spent() const { return limits_.work - left_; }

 private:
  Limits limits_;
  int64_t left_;
};

}  // namespace etch::grammar
