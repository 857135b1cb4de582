// Jinja's tests. The names are those of Jinja 3.1, synonyms included ("eq", "equalto", "==").

#include "text/jinja/predicates.h"

#include <algorithm>
#include <optional>

#include "text/jinja/arguments.h"
#include "text/jinja/filters.h"
#include "text/jinja/format.h"
#include "text/jinja/functions.h"
#include "text/jinja/operators.h"
#include "text/jinja/unicode.h"

namespace etch::jinja {
namespace {

bool IsCallable(const Value& value) {
  if (!value.is_object()) {
    return false;
  }
  const auto& body = value.object().body;
  return std::holds_alternative<Macro>(body) || std::holds_alternative<Function>(body) ||
         std::holds_alternative<Method>(body) || std::holds_alternative<Joiner>(body);
}

// The tests that only look at the type or the size. Undefined has a length, so it is a sequence.
std::optional<bool> TypeTest(std::string_view name, const Value& value) {
  const bool is_container = value.is_text() || value.is_list() || value.is_dict();
  const struct {
    std::string_view name;
    bool holds;
  } tests[] = {
      {"defined", !value.is_undefined()},
      {"undefined", value.is_undefined()},
      {"none", value.is_none()},
      {"boolean", value.is_bool()},
      {"true", value.is_bool() && value.boolean()},
      {"false", value.is_bool() && !value.boolean()},
      {"integer", value.is_int()},
      {"float", value.is_float()},
      {"number", value.is_number()},
      {"string", value.is_text()},
      {"mapping", value.is_dict()},
      {"sequence", is_container || value.is_undefined()},
      {"iterable", is_container || value.is_undefined()},
      {"callable", IsCallable(value)},
      {"escaped", false},
  };
  for (const auto& test : tests) {
    if (test.name == name) {
      return test.holds;
    }
  }
  return std::nullopt;
}

std::optional<Operator> ComparisonNamed(std::string_view name) {
  static constexpr std::pair<std::string_view, Operator> kNames[] = {
      {"eq", Operator::kEqual},        {"equalto", Operator::kEqual},
      {"==", Operator::kEqual},        {"ne", Operator::kNotEqual},
      {"!=", Operator::kNotEqual},     {"lt", Operator::kLess},
      {"lessthan", Operator::kLess},   {"<", Operator::kLess},
      {"le", Operator::kLessEqual},    {"<=", Operator::kLessEqual},
      {"gt", Operator::kGreater},      {"greaterthan", Operator::kGreater},
      {">", Operator::kGreater},       {"ge", Operator::kGreaterEqual},
      {">=", Operator::kGreaterEqual}, {"in", Operator::kIn}};
  for (const auto& [spelling, operation] : kNames) {
    if (spelling == name) {
      return operation;
    }
  }
  return std::nullopt;
}

// str.isupper(), str.islower(): cased letters, all of them in that case.
Result<bool> HasCase(const Value& value, bool upper, Meter& meter) {
  ETCH_ASSIGN_OR_RETURN(const Value text, ToText(value, meter));
  ETCH_TRY(meter.Read(text.text().size()));
  bool cased = false;
  for (size_t offset = 0; offset < text.text().size();) {
    const CodePoint point = CodePointAt(text.text(), offset);
    offset += point.bytes.size();
    if (IsCased(point.value)) {
      cased = true;
      if ((upper ? ToUpper(point.value) : ToLower(point.value)) != point.value) {
        return false;
      }
    }
  }
  return cased;
}

Result<bool> DividesBy(std::string_view name, const Value& value, const Value& divisor) {
  ETCH_ASSIGN_OR_RETURN(const int64_t number, WantInt(name, value));
  ETCH_ASSIGN_OR_RETURN(const int64_t by, WantInt(name, divisor));
  if (by == 0) {
    return Fail(ErrorCode::kInvalidArgument, "division by zero");
  }
  return by == -1 || number % by == 0;
}

Result<bool> NoArguments(std::string_view name, const Arguments& arguments, bool holds) {
  ETCH_TRY(Bind(name, {}, arguments));
  return holds;
}

}  // namespace

Result<bool> ApplyTest(Interpreter& interpreter, std::string_view name, const Value& value,
                       const Arguments& arguments) {
  if (const std::optional<bool> holds = TypeTest(name, value); holds.has_value()) {
    return NoArguments(name, arguments, *holds);
  }
  if (const std::optional<Operator> comparison = ComparisonNamed(name); comparison.has_value()) {
    ETCH_ASSIGN_OR_RETURN(const std::vector<Value> bound, Bind(name, {{"other"}}, arguments));
    return Compare(*comparison, value, bound[0], interpreter.meter());
  }
  if (name == "odd" || name == "even") {
    ETCH_ASSIGN_OR_RETURN(const bool even, DividesBy(name, value, Value::Int(2)));
    return NoArguments(name, arguments, even == (name == "even"));
  }
  if (name == "divisibleby") {
    ETCH_ASSIGN_OR_RETURN(const std::vector<Value> bound, Bind(name, {{"num"}}, arguments));
    return DividesBy(name, value, bound[0]);
  }
  if (name == "sameas") {
    ETCH_ASSIGN_OR_RETURN(const std::vector<Value> bound, Bind(name, {{"other"}}, arguments));
    return value.SameAs(bound[0]);
  }
  if (name == "upper" || name == "lower") {
    ETCH_ASSIGN_OR_RETURN(const bool holds, HasCase(value, name == "upper", interpreter.meter()));
    return NoArguments(name, arguments, holds);
  }
  if (name == "filter" || name == "test") {
    ETCH_ASSIGN_OR_RETURN(const std::string_view text, WantText(name, value));
    return NoArguments(name, arguments, name == "filter" ? IsFilter(text) : IsTest(text));
  }
  return Fail(ErrorCode::kUnsupported, "there is no test named '{}'", name);
}

bool IsTest(std::string_view name) {
  static constexpr std::string_view kOthers[] = {"odd",   "even",  "divisibleby", "sameas",
                                                 "upper", "lower", "filter",      "test"};
  return TypeTest(name, Value()).has_value() || ComparisonNamed(name).has_value() ||
         std::find(std::begin(kOthers), std::end(kOthers), name) != std::end(kOthers);
}

}  // namespace etch::jinja
