#pragma once

// Grammars in llama.cpp's GBNF: `name ::= alternatives` over literals, character classes, rules,
// groups and repetitions. The text is one of rule `root`.

#include <memory>
#include <string_view>

#include "base/error.h"
#include "grammar/program.h"

namespace etch::grammar {

// kMalformed with the line; kUnsupported for left recursion; kMismatch when the root has no text.
Result<std::unique_ptr<const Program>> CompileRules(std::string_view grammar, Budget& budget);

}  // namespace etch::grammar
