#pragma once

#include <string_view>

#include "text/jinja/object.h"

namespace etch::jinja {

// The global functions: range, namespace, dict, joiner, cycler, raise_exception, strftime_now. Null
// when there is none of this name.
const Function* FindFunction(std::string_view name);

}  // namespace etch::jinja
