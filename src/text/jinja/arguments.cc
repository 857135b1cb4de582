#include "text/jinja/arguments.h"

#include <algorithm>

#include "text/jinja/operators.h"

namespace etch::jinja {

Result<std::vector<Value>> Bind(std::string_view function,
                                std::initializer_list<Parameter> parameters,
                                const Arguments& arguments) {
  if (arguments.positional.size() > parameters.size()) {
    return Fail(ErrorCode::kInvalidArgument, "{} takes at most {} arguments, not {}", function,
                parameters.size(), arguments.positional.size());
  }
  std::vector<std::optional<Value>> given(arguments.positional.begin(), arguments.positional.end());
  given.resize(parameters.size());
  for (const auto& [name, value] : arguments.named) {
    const auto* found =
        std::find_if(parameters.begin(), parameters.end(),
                     [&](const Parameter& parameter) { return parameter.name == name; });
    if (found == parameters.end()) {
      return Fail(ErrorCode::kInvalidArgument, "{} has no parameter '{}'", function, name);
    }
    std::optional<Value>& slot = given[static_cast<size_t>(found - parameters.begin())];
    if (slot.has_value()) {
      return Fail(ErrorCode::kInvalidArgument, "{} got its parameter '{}' twice", function, name);
    }
    slot = value;
  }
  std::vector<Value> bound;
  for (const Parameter& parameter : parameters) {
    std::optional<Value>& slot = given[bound.size()];
    if (!slot.has_value() && !parameter.fallback.has_value()) {
      return Fail(ErrorCode::kInvalidArgument, "{} needs its parameter '{}'", function,
                  parameter.name);
    }
    bound.push_back(slot.has_value() ? std::move(*slot) : *parameter.fallback);
  }
  return bound;
}

Result<int64_t> WantInt(std::string_view function, const Value& value) {
  if (value.is_undefined()) {
    return UndefinedError(value);
  }
  if (!value.is_int() && !value.is_bool()) {
    return Fail(ErrorCode::kInvalidArgument, "{} wants an integer, not '{}'", function,
                TypeName(value));
  }
  return value.integer();
}

Result<std::string_view> WantText(std::string_view function, const Value& value) {
  if (value.is_undefined()) {
    return UndefinedError(value);
  }
  if (!value.is_text()) {
    return Fail(ErrorCode::kInvalidArgument, "{} wants a text, not '{}'", function,
                TypeName(value));
  }
  return value.text();
}

}  // namespace etch::jinja
