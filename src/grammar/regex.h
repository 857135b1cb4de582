#pragma once

// Regular expressions of ECMA-262 in unicode mode, without what needs memory or look-around:
// back-references, (?=…), (?!…), (?<=…), (?<!…), \b, \B and \p are refused. Greedy and lazy
// repetitions are the same set of texts.

#include <string_view>

#include "base/error.h"
#include "grammar/expression.h"

namespace etch::grammar {

// kMalformed or kUnsupported with the place in the pattern.
Result<Expression> ParseRegex(std::string_view pattern, const Limits& limits);

// Texts that hold a match anywhere, as JSON Schema's "pattern" asks.
Expression Anywhere(Expression expression);

}  // namespace etch::grammar
