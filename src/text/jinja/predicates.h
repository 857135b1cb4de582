#pragma once

#include <string_view>

#include "text/jinja/interpreter.h"

namespace etch::jinja {

// `value is name(arguments)`: Jinja's tests. kUnsupported for a name that is none.
Result<bool> ApplyTest(Interpreter& interpreter, std::string_view name, const Value& value,
                       const Arguments& arguments);

bool IsTest(std::string_view name);

}  // namespace etch::jinja
