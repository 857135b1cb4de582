// The two ways in which Python fills values into a text: "%s" % x and "{}".format(x). Both take a
// width, a precision and a type letter; str.format's attribute paths ({x.y}) are refused, they are
// a known way out of Jinja's sandbox.

#include <algorithm>
#include <charconv>

#include "text/jinja/arguments.h"
#include "text/jinja/format.h"
#include "text/jinja/methods.h"
#include "text/jinja/operators.h"
#include "text/jinja/unicode.h"

namespace etch::jinja {
namespace {

constexpr int kMaxWidth = 1000;

struct Layout {
  char align = '\0';  // < > ^
  bool zeros = false;
  bool plus = false;
  int width = 0;
  int precision = -1;
  char type = '\0';
};

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

tl::unexpected<Error> BadFormat(std::string_view format) {
  return Fail(ErrorCode::kInvalidArgument, "'{}' is not a format of this engine",
              format.substr(0, 40));
}

// Digits at the front of `rest`, removed from it.
Result<int> TakeNumber(std::string_view* rest) {
  int number = 0;
  while (!rest->empty() && IsDigit(rest->front())) {
    number = number * 10 + (rest->front() - '0');
    if (number > kMaxWidth) {
      return Fail(ErrorCode::kNoSpace, "a width in a format exceeds {}", kMaxWidth);
    }
    rest->remove_prefix(1);
  }
  return number;
}

// [<>^][+][0][width][.precision], removed from `rest`.
Result<Layout> TakeLayout(std::string_view* rest) {
  Layout layout;
  const auto take = [&](char c) {
    const bool found = rest->starts_with(c);
    rest->remove_prefix(found ? 1 : 0);
    return found;
  };
  for (const char align : {'<', '>', '^'}) {
    layout.align = layout.align == '\0' && take(align) ? align : layout.align;
  }
  layout.align = layout.align == '\0' && take('-') ? '<' : layout.align;
  layout.plus = take('+');
  layout.zeros = take('0');
  ETCH_ASSIGN_OR_RETURN(layout.width, TakeNumber(rest));
  if (take('.')) {
    ETCH_ASSIGN_OR_RETURN(layout.precision, TakeNumber(rest));
  }
  return layout;
}

Result<std::string> NumberText(const Value& value, const Layout& layout) {
  if (!value.is_number()) {
    return Fail(ErrorCode::kInvalidArgument, "format {} wants a number, not '{}'", layout.type,
                TypeName(value));
  }
  if (layout.type == 'f' || layout.type == 'e' || layout.type == 'g') {
    char buffer[400 + kMaxWidth];
    const std::chars_format style = layout.type == 'f'   ? std::chars_format::fixed
                                    : layout.type == 'e' ? std::chars_format::scientific
                                                         : std::chars_format::general;
    const std::to_chars_result end =
        std::to_chars(std::begin(buffer), std::end(buffer), value.number(), style,
                      layout.precision < 0 ? 6 : layout.precision);
    return std::string(buffer, end.ptr);
  }
  if (value.is_float() && std::abs(value.number()) >= 9e18) {
    return Fail(ErrorCode::kInvalidArgument, "the integer exceeds 64 bits");
  }
  const int64_t number = value.is_float() ? static_cast<int64_t>(value.number()) : value.integer();
  return layout.type == 'x' ? fmt::format("{:x}", number) : fmt::format("{}", number);
}

// One value laid out.
Result<std::string> FormatValue(const Value& value, const Layout& layout, Meter& meter) {
  std::string text;
  const bool is_number_type =
      std::string_view("dixfeg").find(layout.type) != std::string::npos && layout.type != '\0';
  if (is_number_type) {
    ETCH_ASSIGN_OR_RETURN(text, NumberText(value, layout));
    text = (layout.plus && !text.starts_with('-') ? "+" : "") + text;
  } else if (layout.type == 's' || layout.type == 'r' || layout.type == '\0') {
    TextBuilder out(meter);
    ETCH_TRY(layout.type == 'r' ? AppendRepr(value, &out, meter) : AppendText(value, &out, meter));
    text = out.Take();
    if (layout.precision >= 0 && layout.precision < CountCodePoints(text)) {
      std::string cut;
      for (const CodePoint& point : SplitCodePoints(text)) {
        cut +=
            cut.size() < text.size() && layout.precision > CountCodePoints(cut) ? point.bytes : "";
        if (CountCodePoints(cut) >= layout.precision) {
          break;
        }
      }
      text = cut;
    }
  } else {
    return BadFormat(std::string_view(&layout.type, 1));
  }
  const int64_t missing = layout.width - CountCodePoints(text);
  if (missing <= 0) {
    return text;
  }
  const char fill = layout.zeros && is_number_type ? '0' : ' ';
  const bool right = layout.align == '>' || (layout.align == '\0' && is_number_type);
  const size_t left_fill = static_cast<size_t>(layout.align == '^' ? missing / 2
                                               : right             ? missing
                                                                   : 0);
  const size_t sign = fill == '0' && (text[0] == '-' || text[0] == '+') ? 1 : 0;
  text.insert(sign, left_fill, fill);
  text.append(static_cast<size_t>(missing) - left_fill, fill);
  return text;
}

// The value a replacement field names: "", "0" or "name".
Result<Value> FieldValue(std::string_view name, const Arguments& arguments, size_t* next) {
  size_t index = *next;
  if (name.empty()) {
    ++*next;
  } else if (IsDigit(name[0])) {
    const auto parsed = std::from_chars(name.data(), name.data() + name.size(), index);
    if (parsed.ec != std::errc() || parsed.ptr != name.data() + name.size()) {
      return BadFormat(name);
    }
  } else {
    const auto found = std::find_if(arguments.named.begin(), arguments.named.end(),
                                    [&](const auto& each) { return each.first == name; });
    if (found == arguments.named.end()) {
      return BadFormat(name);
    }
    return found->second;
  }
  if (index >= arguments.positional.size()) {
    return Fail(ErrorCode::kInvalidArgument, "the format wants more values than it gets");
  }
  return arguments.positional[index];
}

}  // namespace

Result<Value> FormatBraces(Interpreter& interpreter, std::string_view format,
                           const Arguments& arguments) {
  Meter& meter = interpreter.meter();
  TextBuilder out(meter);
  size_t next = 0;
  while (!format.empty()) {
    ETCH_TRY(meter.Step());
    const size_t brace = std::min(format.find_first_of("{}"), format.size());
    ETCH_TRY(out.Append(format.substr(0, brace)));
    format.remove_prefix(brace);
    if (format.empty()) {
      break;
    }
    if (format.starts_with("{{") || format.starts_with("}}")) {
      ETCH_TRY(out.Append(format.substr(0, 1)));
      format.remove_prefix(2);
      continue;
    }
    const size_t close = format.find('}');
    if (format[0] == '}' || close == std::string_view::npos) {
      return BadFormat(format);
    }
    std::string_view field = format.substr(1, close - 1);
    format.remove_prefix(close + 1);
    const size_t colon = std::min(field.find(':'), field.size());
    ETCH_ASSIGN_OR_RETURN(const Value value, FieldValue(field.substr(0, colon), arguments, &next));
    field.remove_prefix(std::min(colon + 1, field.size()));
    ETCH_ASSIGN_OR_RETURN(Layout layout, TakeLayout(&field));
    layout.type = field.empty() ? '\0' : field[0];
    if (field.size() > 1) {
      return BadFormat(field);
    }
    ETCH_ASSIGN_OR_RETURN(const std::string text, FormatValue(value, layout, meter));
    ETCH_TRY(out.Append(text));
  }
  return out.Finish();
}

Result<Value> FormatPercent(std::string_view format, const Value& arguments, Meter& meter) {
  const bool is_tuple = arguments.is_list() && arguments.list().is_tuple;
  const std::vector<Value> values =
      is_tuple ? arguments.list().items : std::vector<Value>{arguments};
  TextBuilder out(meter);
  size_t next = 0;
  while (!format.empty()) {
    ETCH_TRY(meter.Step());
    const size_t percent = std::min(format.find('%'), format.size());
    ETCH_TRY(out.Append(format.substr(0, percent)));
    format.remove_prefix(std::min(percent + 1, format.size()));
    if (percent == 0 && format.empty()) {
      return BadFormat("%");
    }
    if (format.empty()) {
      break;
    }
    if (format[0] == '%') {
      ETCH_TRY(out.Append("%"));
      format.remove_prefix(1);
      continue;
    }
    ETCH_ASSIGN_OR_RETURN(Layout layout, TakeLayout(&format));
    if (format.empty() || next >= values.size()) {
      return format.empty()
                 ? Result<Value>(BadFormat("%"))
                 : Fail(ErrorCode::kInvalidArgument, "the format wants more values than it gets");
    }
    layout.type = format[0];
    format.remove_prefix(1);
    layout.align = layout.align == '\0' ? '>' : layout.align;
    ETCH_ASSIGN_OR_RETURN(const std::string text, FormatValue(values[next++], layout, meter));
    ETCH_TRY(out.Append(text));
  }
  if (next < values.size() && (is_tuple || !arguments.is_dict())) {
    return Fail(ErrorCode::kInvalidArgument, "the format wants fewer values than it gets");
  }
  return out.Finish();
}

}  // namespace etch::jinja
