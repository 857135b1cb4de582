#pragma once

// Source of a template → syntax tree, after the grammar of Jinja 3.1 with transformers' extensions
// (break, continue, generation).

#include <string_view>

#include "base/error.h"
#include "text/jinja/ast.h"

namespace etch::jinja {

// `source` as NormalizeSource returns it. kMalformed for a syntax error, kUnsupported for what the
// subset leaves out (include, import, extends, block, recursive loops, nesting above 100); both
// name line and column.
Result<Body> Parse(std::string_view source);

}  // namespace etch::jinja
