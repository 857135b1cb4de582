// The three spellings of a value. str() and repr() are Python's, because templates print lists and
// numbers straight into prompts and models have learnt that form; JSON is json.dumps with the
// defaults of transformers (no ASCII escapes, ", " and ": "), for the same reason.

#include "text/jinja/format.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "text/jinja/object.h"
#include "text/jinja/unicode.h"

namespace etch::jinja {
namespace {

// Whether Python's repr shows the code point as it is. Controls, separators and surrogates are not
// shown; neither is a byte that is no UTF-8.
bool IsPrintable(uint32_t code_point) {
  return code_point >= 0x20 && !(code_point >= 0x7f && code_point < 0xa1) && code_point != 0xad &&
         !(code_point >= 0xd800 && code_point < 0xe000) && code_point < 0x110000 &&
         (code_point == ' ' || !IsSpace(code_point)) &&
         !(code_point >= 0x200b && code_point <= 0x200f) && code_point != 0xfeff;
}

std::string EscapeForRepr(uint32_t code_point) {
  switch (code_point) {
    case '\n':
      return "\\n";
    case '\r':
      return "\\r";
    case '\t':
      return "\\t";
    default:
      break;
  }
  const uint32_t value = code_point >= 0x110000 ? code_point - 0x110000 : code_point;
  return value < 0x100     ? fmt::format("\\x{:02x}", value)
         : value < 0x10000 ? fmt::format("\\u{:04x}", value)
                           : fmt::format("\\U{:08x}", value);
}

Status AppendQuoted(std::string_view text, TextBuilder* out, Meter& meter) {
  ETCH_TRY(meter.Read(text.size()));
  const bool has_single = text.find('\'') != std::string_view::npos;
  const bool has_double = text.find('"') != std::string_view::npos;
  const char quote = has_single && !has_double ? '"' : '\'';
  std::string quoted(1, quote);
  for (size_t offset = 0; offset < text.size();) {
    const CodePoint point = CodePointAt(text, offset);
    offset += point.bytes.size();
    if (point.value == '\\' || point.value == static_cast<unsigned char>(quote)) {
      quoted += '\\';
      quoted += point.bytes;
    } else if (IsPrintable(point.value)) {
      quoted += point.bytes;
    } else {
      quoted += EscapeForRepr(point.value);
    }
  }
  quoted += quote;
  return out->Append(quoted);
}

Status AppendListRepr(const List& list, TextBuilder* out, Meter& meter) {
  ETCH_TRY(out->Append(list.is_tuple ? "(" : "["));
  for (size_t index = 0; index < list.items.size(); ++index) {
    ETCH_TRY(out->Append(index == 0 ? "" : ", "));
    ETCH_TRY(AppendRepr(list.items[index], out, meter));
  }
  if (list.is_tuple) {
    return out->Append(list.items.size() == 1 ? ",)" : ")");
  }
  return out->Append("]");
}

Status AppendDictRepr(const Dict& dict, TextBuilder* out, Meter& meter) {
  ETCH_TRY(out->Append("{"));
  bool first = true;
  for (const auto& [key, value] : dict.entries()) {
    ETCH_TRY(out->Append(first ? "" : ", "));
    first = false;
    ETCH_TRY(AppendRepr(key, out, meter));
    ETCH_TRY(out->Append(": "));
    ETCH_TRY(AppendRepr(value, out, meter));
  }
  return out->Append("}");
}

// A JSON string (RFC 8259 §7).
Status AppendJsonString(std::string_view text, bool ascii_only, TextBuilder* out, Meter& meter) {
  ETCH_TRY(meter.Read(text.size()));
  static constexpr std::string_view kEscaped = "\"\\\n\r\t\b\f";
  static constexpr std::string_view kLetters = "\"\\nrtbf";
  std::string quoted = "\"";
  for (size_t offset = 0; offset < text.size();) {
    const CodePoint point = CodePointAt(text, offset);
    offset += point.bytes.size();
    const size_t escape =
        point.value < 0x80 ? kEscaped.find(static_cast<char>(point.value)) : std::string_view::npos;
    if (escape != std::string_view::npos) {
      quoted += '\\';
      quoted += kLetters[escape];
    } else if (point.value < 0x20 || (ascii_only && point.value == 0x7f)) {
      quoted +=
          point.value == 0x7f ? std::string(point.bytes) : fmt::format("\\u{:04x}", point.value);
    } else if (!ascii_only || point.value < 0x7f || point.value >= 0x110000) {
      quoted += point.bytes;
    } else if (point.value < 0x10000) {
      quoted += fmt::format("\\u{:04x}", point.value);
    } else {
      const uint32_t rest = point.value - 0x10000;
      quoted += fmt::format("\\u{:04x}\\u{:04x}", 0xd800 + (rest >> 10), 0xdc00 + (rest & 0x3ff));
    }
  }
  quoted += '"';
  return out->Append(quoted);
}

class JsonWriter {
 public:
  JsonWriter(const JsonStyle& style, TextBuilder* out, Meter& meter)
      : style_(style), out_(out), meter_(meter) {}

  Status Write(const Value& value, int level) {
    ETCH_TRY(meter_.Step());
    switch (value.kind()) {
      case Value::Kind::kNone:
        return out_->Append("null");
      case Value::Kind::kBool:
        return out_->Append(value.boolean() ? "true" : "false");
      case Value::Kind::kInt:
        return out_->Append(fmt::format("{}", value.integer()));
      case Value::Kind::kFloat:
        return WriteFloat(value.number());
      case Value::Kind::kText:
        return AppendJsonString(value.text(), style_.ascii_only, out_, meter_);
      case Value::Kind::kList:
        return WriteList(value.list(), level);
      case Value::Kind::kDict:
        return WriteDict(value.dict(), level);
      case Value::Kind::kUndefined:
      case Value::Kind::kObject:
        break;
    }
    return Fail(ErrorCode::kInvalidArgument, "a value of type {} has no form in JSON{}",
                TypeName(value),
                value.is_undefined() ? fmt::format(": {}", value.why_undefined()) : "");
  }

 private:
  Status WriteFloat(double number) {
    if (std::isfinite(number)) {
      return out_->Append(FloatText(number));
    }
    return out_->Append(std::isnan(number) ? "NaN" : number > 0 ? "Infinity" : "-Infinity");
  }

  Status Break(int level) {
    if (style_.indent < 0) {
      return {};
    }
    ETCH_TRY(out_->Append("\n"));
    return out_->Append(std::string(static_cast<size_t>(style_.indent * level), ' '));
  }

  Status WriteList(const List& list, int level) {
    if (list.items.empty()) {
      return out_->Append("[]");
    }
    ETCH_TRY(out_->Append("["));
    for (size_t index = 0; index < list.items.size(); ++index) {
      if (index > 0) {
        ETCH_TRY(out_->Append(style_.item_separator));
      }
      ETCH_TRY(Break(level + 1));
      ETCH_TRY(Write(list.items[index], level + 1));
    }
    ETCH_TRY(Break(level));
    return out_->Append("]");
  }

  // json.dumps writes None, bools and numbers as keys in quotes.
  Status WriteKey(const Value& key) {
    if (key.is_text()) {
      return AppendJsonString(key.text(), style_.ascii_only, out_, meter_);
    }
    if (!key.is_none() && !key.is_number()) {
      return Fail(ErrorCode::kInvalidArgument, "a key of type {} has no form in JSON",
                  TypeName(key));
    }
    ETCH_TRY(out_->Append("\""));
    ETCH_TRY(Write(key, 0));
    return out_->Append("\"");
  }

  Status WriteDict(const Dict& dict, int level) {
    if (dict.entries().empty()) {
      return out_->Append("{}");
    }
    std::vector<const Dict::Entry*> entries;
    for (const Dict::Entry& entry : dict.entries()) {
      entries.push_back(&entry);
      if (style_.sort_keys && !entry.first.is_text()) {
        return Fail(ErrorCode::kInvalidArgument, "sort_keys wants keys that are texts");
      }
    }
    if (style_.sort_keys) {
      ETCH_TRY(meter_.Step(static_cast<int64_t>(entries.size())));
      std::stable_sort(entries.begin(), entries.end(), [](const auto* left, const auto* right) {
        return left->first.text() < right->first.text();
      });
    }
    ETCH_TRY(out_->Append("{"));
    for (size_t index = 0; index < entries.size(); ++index) {
      if (index > 0) {
        ETCH_TRY(out_->Append(style_.item_separator));
      }
      ETCH_TRY(Break(level + 1));
      ETCH_TRY(WriteKey(entries[index]->first));
      ETCH_TRY(out_->Append(style_.key_separator));
      ETCH_TRY(Write(entries[index]->second, level + 1));
    }
    ETCH_TRY(Break(level));
    return out_->Append("}");
  }

  const JsonStyle& style_;
  TextBuilder* out_;
  Meter& meter_;
};

}  // namespace

std::string FloatText(double number) {
  if (std::isnan(number)) {
    return "nan";
  }
  if (std::isinf(number)) {
    return number > 0 ? "inf" : "-inf";
  }
  // Python's repr: an exponent below 1e-4 and from 1e16 on, else plain digits with a point.
  const double size = std::abs(number);
  const bool plain = size == 0 || (size >= 1e-4 && size < 1e16);
  char buffer[64];
  const std::to_chars_result end =
      std::to_chars(std::begin(buffer), std::end(buffer), number,
                    plain ? std::chars_format::fixed : std::chars_format::scientific);
  std::string text(buffer, end.ptr);
  if (plain && text.find('.') == std::string::npos) {
    text += ".0";
  }
  return text;
}

Status AppendText(const Value& value, TextBuilder* out, Meter& meter) {
  if (value.is_undefined()) {
    return {};
  }
  return value.is_text() ? out->Append(value.text()) : AppendRepr(value, out, meter);
}

Result<Value> ToText(const Value& value, Meter& meter) {
  if (value.is_text()) {
    return value;
  }
  TextBuilder out(meter);
  ETCH_TRY(AppendText(value, &out, meter));
  return out.Finish();
}

Status AppendRepr(const Value& value, TextBuilder* out, Meter& meter) {
  ETCH_TRY(meter.Step());
  switch (value.kind()) {
    case Value::Kind::kUndefined:
      return out->Append("Undefined");
    case Value::Kind::kNone:
      return out->Append("None");
    case Value::Kind::kBool:
      return out->Append(value.boolean() ? "True" : "False");
    case Value::Kind::kInt:
      return out->Append(fmt::format("{}", value.integer()));
    case Value::Kind::kFloat:
      return out->Append(FloatText(value.number()));
    case Value::Kind::kText:
      return AppendQuoted(value.text(), out, meter);
    case Value::Kind::kList:
      return AppendListRepr(value.list(), out, meter);
    case Value::Kind::kDict:
      return AppendDictRepr(value.dict(), out, meter);
    case Value::Kind::kObject:
      break;
  }
  return out->Append(fmt::format("<{}>", TypeName(value)));
}

Status AppendJson(const Value& value, const JsonStyle& style, TextBuilder* out, Meter& meter) {
  return JsonWriter(style, out, meter).Write(value, 0);
}

}  // namespace etch::jinja
