#pragma once

// Values as text: Python's str() and repr(), and JSON as transformers' tojson writes it.

#include <string>
#include <string_view>

#include "text/jinja/value.h"

namespace etch::jinja {

// str(value): what {{ value }} prints; "" for undefined.
Status AppendText(const Value& value, TextBuilder* out, Meter& meter);
Result<Value> ToText(const Value& value,
                     Meter& meter);  // a text value, without a copy if it is one
// repr(value): texts in quotes.
Status AppendRepr(const Value& value, TextBuilder* out, Meter& meter);

// The shortest text that reads back as `number`, spelt as Python does: 1.0, 1e+16, inf.
std::string FloatText(double number);

struct JsonStyle {
  bool ascii_only = false;
  bool sort_keys = false;
  int indent = -1;  // -1: on one line
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};

// json.dumps(value). kInvalidArgument for what JSON has no form of (undefined, objects).
Status AppendJson(const Value& value, const JsonStyle& style, TextBuilder* out, Meter& meter);

}  // namespace etch::jinja
