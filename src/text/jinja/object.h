#pragma once

// The values with identity: what a template can call, or change in place. The interpreter owns
// them until the render ends, so values refer to them by plain pointers and no cycle leaks.

#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "text/jinja/value.h"

namespace etch::jinja {

class Interpreter;
struct Statement;

using NativeFunction = Result<Value> (*)(Interpreter& interpreter, const Arguments& arguments);

// namespace(…): the only thing a template can assign into.
struct Namespace {
  Dict attributes;
};

// {% macro %}, or the body of {% call %}. `captured` holds what it saw where it was defined.
struct Macro {
  const Statement* definition;
  std::vector<std::pair<std::string, Value>> captured;
};

// `loop` inside {% for %}.
struct Loop {
  Value items;  // a list
  size_t index = 0;
  std::vector<Value> last_changed;
};

struct Cycler {
  std::vector<Value> items;
  size_t position = 0;
};

struct Joiner {
  Value separator;
  bool used = false;
};

struct Function {
  std::string_view name;  // static
  NativeFunction function;
};

// value.name, where name is a method of the value's type.
struct Method {
  Value receiver;
  std::string name;
};

struct Object {
  std::variant<Namespace, Macro, Loop, Cycler, Joiner, Function, Method> body;
};

}  // namespace etch::jinja
