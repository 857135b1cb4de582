#pragma once

// Python's operators on values. Type errors are kInvalidArgument; so are overflows of 64 bits.

#include <optional>
#include <string_view>
#include <vector>

#include "text/jinja/ast.h"
#include "text/jinja/value.h"

namespace etch::jinja {

Result<Value> Arithmetic(Operator operation, const Value& left, const Value& right, Meter& meter);
Result<Value> Negate(const Value& value);
Result<bool> Compare(Operator operation, const Value& left, const Value& right, Meter& meter);
Result<bool> Equal(const Value& left, const Value& right, Meter& meter);
// Python's order of two values: negative, 0 or positive.
Result<int> Order(const Value& left, const Value& right, Meter& meter);

// The items that a loop over `value` visits: of a list, the keys of a dict, the characters of a
// text, none for undefined.
Result<std::vector<Value>> Items(const Value& value, Meter& meter);
// len(value).
Result<int64_t> Length(const Value& value, Meter& meter);
// value[begin:end:step]; null bounds are absent.
Result<Value> Slice(const Value& value, const Value* begin, const Value* end, const Value* step,
                    Meter& meter);
// The text `template % arguments` with %s %r %d %i %f %x %%.
Result<Value> FormatPercent(std::string_view format, const Value& arguments, Meter& meter);

// The error of using an undefined value.
tl::unexpected<Error> UndefinedError(const Value& value);

}  // namespace etch::jinja
