// map, select, reject, selectattr, rejectattr: filters that apply other filters and tests.

#include <charconv>

#include "text/jinja/arguments.h"
#include "text/jinja/filters.h"
#include "text/jinja/operators.h"
#include "text/jinja/predicates.h"

namespace etch::jinja {
namespace {

// The arguments after the first `count`.
Arguments Without(const Arguments& arguments, size_t count) {
  Arguments rest = arguments;
  rest.positional.erase(rest.positional.begin(),
                        rest.positional.begin() + static_cast<std::ptrdiff_t>(count));
  return rest;
}

Result<Value> MapAttribute(Interpreter& interpreter, const std::vector<Value>& items,
                           const Arguments& arguments) {
  ETCH_ASSIGN_OR_RETURN(const std::vector<Value> bound,
                        Bind("map", {{"attribute"}, {"default", Value()}}, arguments));
  std::vector<Value> mapped;
  for (const Value& item : items) {
    ETCH_ASSIGN_OR_RETURN(Value value, AttributePath(interpreter, item, bound[0]));
    mapped.push_back(value.is_undefined() && !bound[1].is_undefined() ? bound[1]
                                                                      : std::move(value));
  }
  return MakeList(interpreter.meter(), std::move(mapped));
}

Result<Value> Map(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  ETCH_ASSIGN_OR_RETURN(const std::vector<Value> items, Items(value, interpreter.meter()));
  if (arguments.positional.empty()) {
    return MapAttribute(interpreter, items, arguments);
  }
  ETCH_ASSIGN_OR_RETURN(const std::string_view name, WantText("map", arguments.positional[0]));
  const Arguments rest = Without(arguments, 1);
  std::vector<Value> mapped;
  for (const Value& item : items) {
    ETCH_ASSIGN_OR_RETURN(Value result, ApplyFilter(interpreter, name, item, rest));
    mapped.push_back(std::move(result));
  }
  return MakeList(interpreter.meter(), std::move(mapped));
}

// Items whose attribute (if kByAttribute), or which themselves, pass a test; kKeep says which side
// stays. Without a test it is their truth that counts.
template <bool kByAttribute, bool kKeep>
Result<Value> Select(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  const size_t leading = kByAttribute ? 1 : 0;
  if (arguments.positional.size() < leading) {
    return Fail(ErrorCode::kInvalidArgument, "the filter needs the name of an attribute");
  }
  const bool has_test = arguments.positional.size() > leading;
  std::string_view test;
  if (has_test) {
    ETCH_ASSIGN_OR_RETURN(test, WantText("the filter", arguments.positional[leading]));
  }
  const Arguments rest = Without(arguments, leading + (has_test ? 1 : 0));
  ETCH_ASSIGN_OR_RETURN(const std::vector<Value> items, Items(value, interpreter.meter()));
  std::vector<Value> kept;
  for (const Value& item : items) {
    ETCH_TRY(interpreter.meter().Step());
    const Value path = kByAttribute ? arguments.positional[0] : Value::None();
    ETCH_ASSIGN_OR_RETURN(const Value subject, AttributePath(interpreter, item, path));
    bool holds = Truthy(subject);
    if (has_test) {
      ETCH_ASSIGN_OR_RETURN(holds, ApplyTest(interpreter, test, subject, rest));
    }
    if (holds == kKeep) {
      kept.push_back(item);
    }
  }
  return MakeList(interpreter.meter(), std::move(kept));
}

// As in Jinja, these filters take whatever is false, none included, for an empty sequence.
template <FilterFunction kFilter>
Result<Value> OrEmpty(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  return Truthy(value) ? kFilter(interpreter, value, arguments) : MakeList(interpreter.meter(), {});
}

constexpr FilterEntry kSelectFilters[] = {{"map", OrEmpty<Map>},
                                          {"select", OrEmpty<Select<false, true>>},
                                          {"reject", OrEmpty<Select<false, false>>},
                                          {"selectattr", OrEmpty<Select<true, true>>},
                                          {"rejectattr", OrEmpty<Select<true, false>>}};

}  // namespace

FilterFunction FindSelectFilter(std::string_view name) {
  return FindFilterIn(kSelectFilters, name);
}

Result<Value> AttributePath(Interpreter& interpreter, const Value& item, const Value& path) {
  if (path.is_none()) {
    return item;
  }
  if (path.is_int()) {
    return interpreter.Item(item, path);
  }
  ETCH_ASSIGN_OR_RETURN(std::string_view rest, WantText("an attribute", path));
  Value value = item;
  while (true) {
    ETCH_TRY(interpreter.meter().Step());
    const size_t dot = rest.find('.');
    const std::string_view part = rest.substr(0, dot);
    int64_t index = 0;
    const auto parsed = std::from_chars(part.data(), part.data() + part.size(), index);
    const bool is_index =
        !part.empty() && parsed.ec == std::errc() && parsed.ptr == part.data() + part.size();
    ETCH_ASSIGN_OR_RETURN(
        value, interpreter.Item(value, is_index ? Value::Int(index) : Value::Literal(part)));
    if (dot == std::string_view::npos) {
      return value;
    }
    rest.remove_prefix(dot + 1);
  }
}

}  // namespace etch::jinja
