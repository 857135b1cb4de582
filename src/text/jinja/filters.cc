// The dispatch of filters, and those on single values: defaults, numbers and JSON.

#include "text/jinja/filters.h"

#include <charconv>
#include <cmath>

#include "text/jinja/arguments.h"
#include "text/jinja/format.h"
#include "text/jinja/json_reader.h"
#include "text/jinja/operators.h"
#include "text/jinja/unicode.h"

namespace etch::jinja {
namespace {

FilterFunction FindFilter(std::string_view name) {
  for (FilterFunction (*find)(std::string_view) :
       {FindTextFilter, FindScalarFilter, FindSequenceFilter, FindSelectFilter}) {
    if (FilterFunction function = find(name); function != nullptr) {
      return function;
    }
  }
  return nullptr;
}

Result<Value> Default(Interpreter&, const Value& value, const Arguments& arguments) {
  ETCH_ASSIGN_OR_RETURN(
      std::vector<Value> bound,
      Bind("default", {{"default_value", Value::Literal("")}, {"boolean", Value::Bool(false)}},
           arguments));
  const bool replace = value.is_undefined() || (Truthy(bound[1]) && !Truthy(value));
  return replace ? std::move(bound[0]) : value;
}

Result<Value> Abs(Interpreter&, const Value& value, const Arguments& arguments) {
  ETCH_TRY(Bind("abs", {}, arguments));
  if (value.is_float()) {
    return Value::Float(std::abs(value.number()));
  }
  ETCH_ASSIGN_OR_RETURN(const int64_t number, WantInt("abs", value));
  return number < 0 ? Negate(value) : Value::Int(number);
}

// A float from text as Python reads it, white space and underscores aside.
std::optional<double> ParseFloat(std::string_view text) {
  text = StripLeft(StripRight(text));
  text.remove_prefix(text.starts_with('+') ? 1 : 0);
  double number = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || parsed.ec != std::errc() || parsed.ptr != text.data() + text.size()) {
    return std::nullopt;
  }
  return number;
}

std::optional<int64_t> FloatToInt(double number) {
  if (!(std::abs(number) < 9.2e18)) {
    return std::nullopt;
  }
  return static_cast<int64_t>(number);
}

Result<Value> ToInt(Interpreter&, const Value& value, const Arguments& arguments) {
  ETCH_ASSIGN_OR_RETURN(
      std::vector<Value> bound,
      Bind("int", {{"default", Value::Int(0)}, {"base", Value::Int(10)}}, arguments));
  ETCH_ASSIGN_OR_RETURN(const int64_t base, WantInt("int", bound[1]));
  if (base < 2 || base > 36) {
    return Fail(ErrorCode::kInvalidArgument, "the base of int lies between 2 and 36");
  }
  std::optional<int64_t> number;
  if (value.is_float()) {
    number = FloatToInt(value.number());
  } else if (value.is_number()) {
    number = value.integer();
  } else if (value.is_text()) {
    std::string_view text = StripLeft(StripRight(value.text()));
    text.remove_prefix(text.starts_with('+') ? 1 : 0);
    int64_t parsed_number = 0;
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), parsed_number,
                                        static_cast<int>(base));
    if (!text.empty() && parsed.ec == std::errc() && parsed.ptr == text.data() + text.size()) {
      number = parsed_number;
    } else if (const std::optional<double> as_float = ParseFloat(text); as_float.has_value()) {
      number = FloatToInt(*as_float);
    }
  }
  return number.has_value() ? Value::Int(*number) : std::move(bound[0]);
}

Result<Value> ToFloat(Interpreter&, const Value& value, const Arguments& arguments) {
  ETCH_ASSIGN_OR_RETURN(std::vector<Value> bound,
                        Bind("float", {{"default", Value::Float(0)}}, arguments));
  if (value.is_number()) {
    return Value::Float(value.number());
  }
  const std::optional<double> number =
      value.is_text() ? ParseFloat(value.text()) : std::optional<double>();
  return number.has_value() ? Value::Float(*number) : std::move(bound[0]);
}

Result<Value> Round(Interpreter&, const Value& value, const Arguments& arguments) {
  ETCH_ASSIGN_OR_RETURN(
      const std::vector<Value> bound,
      Bind("round", {{"precision", Value::Int(0)}, {"method", Value::Literal("common")}},
           arguments));
  ETCH_ASSIGN_OR_RETURN(const int64_t precision, WantInt("round", bound[0]));
  ETCH_ASSIGN_OR_RETURN(const std::string_view method, WantText("round", bound[1]));
  if (!value.is_number() || precision < -15 || precision > 15) {
    return Fail(ErrorCode::kInvalidArgument, "round wants a number and a precision of -15 to 15");
  }
  const double scale = std::pow(10.0, static_cast<double>(precision));
  const double scaled = value.number() * scale;
  if (method == "ceil") {
    return Value::Float(std::ceil(scaled) / scale);
  }
  if (method == "floor") {
    return Value::Float(std::floor(scaled) / scale);
  }
  if (method != "common") {
    return Fail(ErrorCode::kInvalidArgument, "round knows common, ceil and floor, not '{}'",
                method);
  }
  // Python's round takes the even neighbour of a half.
  const double rounded = std::nearbyint(scaled) / scale;
  return value.is_float() ? Value::Float(rounded) : Value::Int(static_cast<int64_t>(rounded));
}

// The two separators of json.dumps.
Status ReadSeparators(const Value& value, JsonStyle* style) {
  if (value.is_none()) {
    style->item_separator = style->indent >= 0 ? "," : ", ";
    return {};
  }
  if (!value.is_list() || value.list().items.size() != 2) {
    return Fail(ErrorCode::kInvalidArgument, "tojson wants two separators");
  }
  ETCH_ASSIGN_OR_RETURN(const std::string_view item, WantText("tojson", value.list().items[0]));
  ETCH_ASSIGN_OR_RETURN(const std::string_view key, WantText("tojson", value.list().items[1]));
  style->item_separator = item;
  style->key_separator = key;
  return {};
}

// transformers: json.dumps(x, ensure_ascii=…, indent=…, separators=…, sort_keys=…), not Jinja's own
// tojson, which escapes HTML.
Result<Value> ToJson(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  ETCH_ASSIGN_OR_RETURN(const std::vector<Value> bound, Bind("tojson",
                                                             {{"ensure_ascii", Value::Bool(false)},
                                                              {"indent", Value::None()},
                                                              {"separators", Value::None()},
                                                              {"sort_keys", Value::Bool(false)}},
                                                             arguments));
  JsonStyle style;
  style.ascii_only = Truthy(bound[0]);
  style.sort_keys = Truthy(bound[3]);
  if (!bound[1].is_none()) {
    ETCH_ASSIGN_OR_RETURN(const int64_t indent, WantInt("tojson", bound[1]));
    if (indent < 0 || indent > 100) {
      return Fail(ErrorCode::kInvalidArgument, "the indent of tojson lies between 0 and 100");
    }
    style.indent = static_cast<int>(indent);
  }
  ETCH_TRY(ReadSeparators(bound[2], &style));
  TextBuilder out(interpreter.meter());
  ETCH_TRY(AppendJson(value, style, &out, interpreter.meter()));
  return out.Finish();
}

Result<Value> FromJson(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  ETCH_TRY(Bind("from_json", {}, arguments));
  ETCH_ASSIGN_OR_RETURN(const std::string_view text, WantText("from_json", value));
  return ReadJson(text, interpreter.meter());
}

Result<Value> ItemsFilter(Interpreter& interpreter, const Value& value,
                          const Arguments& arguments) {
  ETCH_TRY(Bind("items", {}, arguments));
  if (value.is_undefined()) {
    return MakeList(interpreter.meter(), {});
  }
  if (!value.is_dict()) {
    return Fail(ErrorCode::kInvalidArgument, "items wants a dict, not '{}'", TypeName(value));
  }
  return interpreter.CallNamed(value, "items", {});
}

Result<Value> Attr(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  ETCH_ASSIGN_OR_RETURN(const std::vector<Value> bound, Bind("attr", {{"name"}}, arguments));
  ETCH_ASSIGN_OR_RETURN(const std::string_view name, WantText("attr", bound[0]));
  return interpreter.Attribute(value, name);
}

Result<Value> LengthFilter(Interpreter& interpreter, const Value& value,
                           const Arguments& arguments) {
  ETCH_TRY(Bind("length", {}, arguments));
  ETCH_ASSIGN_OR_RETURN(const int64_t length, Length(value, interpreter.meter()));
  return Value::Int(length);
}

constexpr FilterEntry kScalarFilters[] = {
    {"default", Default},   {"d", Default},         {"abs", Abs},       {"int", ToInt},
    {"float", ToFloat},     {"round", Round},       {"tojson", ToJson}, {"from_json", FromJson},
    {"fromjson", FromJson}, {"items", ItemsFilter}, {"attr", Attr},     {"length", LengthFilter},
    {"count", LengthFilter}};

}  // namespace

FilterFunction FindScalarFilter(std::string_view name) {
  return FindFilterIn(kScalarFilters, name);
}

bool IsFilter(std::string_view name) { return FindFilter(name) != nullptr; }

Result<Value> ApplyFilter(Interpreter& interpreter, std::string_view name, const Value& value,
                          const Arguments& arguments) {
  const FilterFunction function = FindFilter(name);
  if (function == nullptr) {
    return Fail(ErrorCode::kUnsupported, "there is no filter named '{}'", name);
  }
  ETCH_TRY(interpreter.meter().Step());
  return function(interpreter, value, arguments);
}

}  // namespace etch::jinja
