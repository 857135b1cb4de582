#pragma once

// Arguments of built-in filters, tests, methods and functions against their parameters.

#include <initializer_list>
#include <optional>
#include <string_view>
#include <vector>

#include "text/jinja/value.h"

namespace etch::jinja {

struct Parameter {
  Parameter(std::string_view parameter_name) : name(parameter_name) {}  // NOLINT: required
  Parameter(std::string_view parameter_name, Value value)
      : name(parameter_name), fallback(std::move(value)) {}

  std::string_view name;
  std::optional<Value> fallback;  // absent: required
};

// The values of `parameters`, in their order. kInvalidArgument names the function and what is
// missing, unknown, given twice or too much.
Result<std::vector<Value>> Bind(std::string_view function,
                                std::initializer_list<Parameter> parameters,
                                const Arguments& arguments);

// Typed reading of a bound argument.
Result<int64_t> WantInt(std::string_view function, const Value& value);
Result<std::string_view> WantText(std::string_view function, const Value& value);

}  // namespace etch::jinja
