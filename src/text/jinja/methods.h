#pragma once

// The methods of texts, lists, dicts and the engine's objects.

#include <string_view>
#include <vector>

#include "text/jinja/interpreter.h"

namespace etch::jinja {

bool HasMethod(const Value& value, std::string_view name);
// Fails with kUnsupported for methods that would change a list or a dict, as Jinja's sandbox does.
Result<Value> CallMethod(Interpreter& interpreter, const Value& value, std::string_view name,
                         const Arguments& arguments);

// The tables by type, for the two functions above.
using MethodFunction = Result<Value> (*)(Interpreter& interpreter, const Value& self,
                                         const Arguments& arguments);
MethodFunction FindTextMethod(std::string_view name);  // null: there is none

// str.splitlines() without the line ends.
std::vector<std::string_view> SplitLines(std::string_view text);
// str.replace(); `count` < 0: all.
Result<Value> ReplaceText(std::string_view text, std::string_view before, std::string_view after,
                          int64_t count, Meter& meter);
// dict.items() as a list of pairs.
Result<Value> DictItems(const Dict& dict, Meter& meter);
// str.format() with {} {0} {name} and :s :d :.2f :>5 …
Result<Value> FormatBraces(Interpreter& interpreter, std::string_view format,
                           const Arguments& arguments);

}  // namespace etch::jinja
