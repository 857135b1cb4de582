// Filters on texts. Jinja applies most of them to str(value), so they take any value.

#include <algorithm>

#include "base/html.h"
#include "text/jinja/arguments.h"
#include "text/jinja/filters.h"
#include "text/jinja/format.h"
#include "text/jinja/methods.h"
#include "text/jinja/operators.h"
#include "text/jinja/unicode.h"

namespace etch::jinja {
namespace {

template <std::string (*kMap)(std::string_view)>
Result<Value> Mapped(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  ETCH_TRY(Bind("the filter", {}, arguments));
  ETCH_ASSIGN_OR_RETURN(const Value text, ToText(value, interpreter.meter()));
  ETCH_TRY(interpreter.meter().Read(text.text().size()));
  return MakeText(interpreter.meter(), kMap(text.text()));
}

// Jinja's title: the first letter of each word, where words follow white space or - ( { [ <.
std::string TitleWords(std::string_view text) {
  std::string out;
  bool at_word = true;
  for (const CodePoint& point : SplitCodePoints(text)) {
    const bool separator =
        IsSpace(point.value) ||
        (point.value < 0x80 &&
         std::string_view("-({[<").find(static_cast<char>(point.value)) != std::string_view::npos);
    const uint32_t mapped = at_word ? ToUpper(point.value) : ToLower(point.value);
    if (mapped == point.value) {
      out += point.bytes;
    } else {
      AppendUtf8(mapped, &out);
    }
    at_word = separator;
  }
  return out;
}

Result<Value> String(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  ETCH_TRY(Bind("string", {}, arguments));
  return ToText(value, interpreter.meter());
}

// The text as Markup, escaped if `kEscapes` and it is none yet. Nothing else is escaped by itself:
// transformers renders without autoescape.
template <bool kEscapes>
Result<Value> Safe(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  ETCH_TRY(Bind(kEscapes ? "escape" : "safe", {}, arguments));
  ETCH_ASSIGN_OR_RETURN(const Value text, ToText(value, interpreter.meter()));
  if (text.is_safe_text()) {
    return text;
  }
  ETCH_TRY(interpreter.meter().Read(text.text().size()));
  return MakeSafeText(interpreter.meter(),
                      kEscapes ? EscapeHtml(text.text()) : std::string(text.text()));
}

Result<Value> Trim(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  ETCH_ASSIGN_OR_RETURN(const std::vector<Value> bound,
                        Bind("trim", {{"chars", Value::None()}}, arguments));
  ETCH_ASSIGN_OR_RETURN(const Value text, ToText(value, interpreter.meter()));
  return interpreter.CallNamed(text, "strip", {.positional = {bound[0]}, .named = {}});
}

Result<Value> Replace(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  ETCH_ASSIGN_OR_RETURN(const std::vector<Value> bound,
                        Bind("replace", {{"old"}, {"new"}, {"count", Value::None()}}, arguments));
  Meter& meter = interpreter.meter();
  ETCH_ASSIGN_OR_RETURN(const Value text, ToText(value, meter));
  ETCH_ASSIGN_OR_RETURN(const Value before, ToText(bound[0], meter));
  ETCH_ASSIGN_OR_RETURN(const Value after, ToText(bound[1], meter));
  int64_t count = -1;
  if (!bound[2].is_none()) {
    ETCH_ASSIGN_OR_RETURN(count, WantInt("replace", bound[2]));
  }
  return ReplaceText(text.text(), before.text(), after.text(), count, meter);
}

Result<Value> Indent(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  ETCH_ASSIGN_OR_RETURN(
      const std::vector<Value> bound,
      Bind("indent",
           {{"width", Value::Int(4)}, {"first", Value::Bool(false)}, {"blank", Value::Bool(false)}},
           arguments));
  std::string margin;
  if (bound[0].is_text()) {
    margin = bound[0].text();
  } else {
    ETCH_ASSIGN_OR_RETURN(const int64_t width, WantInt("indent", bound[0]));
    if (width > 1000) {
      return Fail(ErrorCode::kNoSpace, "indent is wider than 1000");
    }
    margin.assign(static_cast<size_t>(std::max<int64_t>(width, 0)), ' ');
  }
  Meter& meter = interpreter.meter();
  ETCH_ASSIGN_OR_RETURN(const Value text, ToText(value, meter));
  ETCH_TRY(meter.Read(text.text().size()));
  const std::string with_end = std::string(text.text()) + "\n";  // Jinja's quirk
  const std::vector<std::string_view> lines = SplitLines(with_end);
  TextBuilder out(meter);
  ETCH_TRY(out.Append(Truthy(bound[1]) ? margin : ""));
  for (size_t index = 0; index < lines.size(); ++index) {
    if (index > 0) {
      ETCH_TRY(out.Append("\n"));
      ETCH_TRY(out.Append(Truthy(bound[2]) || !lines[index].empty() ? margin : ""));
    }
    ETCH_TRY(out.Append(lines[index]));
  }
  return out.Finish();
}

Result<Value> Join(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  ETCH_ASSIGN_OR_RETURN(
      const std::vector<Value> bound,
      Bind("join", {{"d", Value::Literal("")}, {"attribute", Value::None()}}, arguments));
  Meter& meter = interpreter.meter();
  ETCH_ASSIGN_OR_RETURN(const Value separator, ToText(bound[0], meter));
  ETCH_ASSIGN_OR_RETURN(const std::vector<Value> items, Items(value, meter));
  TextBuilder out(meter);
  for (size_t index = 0; index < items.size(); ++index) {
    ETCH_ASSIGN_OR_RETURN(const Value item, AttributePath(interpreter, items[index], bound[1]));
    ETCH_TRY(out.Append(index == 0 ? "" : separator.text()));
    ETCH_TRY(AppendText(item, &out, meter));
  }
  return out.Finish();
}

Result<Value> Format(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  ETCH_ASSIGN_OR_RETURN(const Value text, ToText(value, interpreter.meter()));
  if (!arguments.named.empty()) {
    return Fail(ErrorCode::kUnsupported, "the filter format takes no named arguments");
  }
  ETCH_ASSIGN_OR_RETURN(const Value tuple,
                        MakeList(interpreter.meter(), arguments.positional, true));
  return FormatPercent(text.text(), tuple, interpreter.meter());
}

Result<Value> WordCount(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  ETCH_TRY(Bind("wordcount", {}, arguments));
  ETCH_ASSIGN_OR_RETURN(const Value text, ToText(value, interpreter.meter()));
  ETCH_ASSIGN_OR_RETURN(const Value words, interpreter.CallNamed(text, "split", {}));
  return Value::Int(static_cast<int64_t>(words.list().items.size()));
}

constexpr FilterEntry kTextFilters[] = {{"upper", Mapped<Upper>},
                                        {"lower", Mapped<Lower>},
                                        {"title", Mapped<TitleWords>},
                                        {"capitalize", Mapped<Capitalize>},
                                        {"escape", Safe<true>},
                                        {"e", Safe<true>},
                                        {"safe", Safe<false>},
                                        {"string", String},
                                        {"trim", Trim},
                                        {"replace", Replace},
                                        {"indent", Indent},
                                        {"join", Join},
                                        {"format", Format},
                                        {"wordcount", WordCount}};

}  // namespace

FilterFunction FindTextFilter(std::string_view name) { return FindFilterIn(kTextFilters, name); }

}  // namespace etch::jinja
