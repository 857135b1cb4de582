// Python's arithmetic, comparison, membership and slicing. Integers have 64 bits and fail on
// overflow instead of growing, which is the one place where a template could see a difference.
// Comparisons walk shared structure again for each path to it, so every visit is a step.

#include "text/jinja/operators.h"

#include <algorithm>
#include <cmath>

#include "base/html.h"
#include "text/jinja/format.h"
#include "text/jinja/unicode.h"

namespace etch::jinja {
namespace {

constexpr std::string_view kNames[] = {
    "+", "-", "*", "/", "//", "%", "**", "==", "!=", "<", "<=", ">", ">=", "in", "not in"};

std::string_view NameOf(Operator operation) { return kNames[static_cast<size_t>(operation)]; }

tl::unexpected<Error> BadOperands(Operator operation, const Value& left, const Value& right) {
  if (left.is_undefined() || right.is_undefined()) {
    return UndefinedError(left.is_undefined() ? left : right);
  }
  return Fail(ErrorCode::kInvalidArgument, "unsupported operand types for {}: '{}' and '{}'",
              NameOf(operation), TypeName(left), TypeName(right));
}

tl::unexpected<Error> Overflow() {
  return Fail(ErrorCode::kInvalidArgument, "the integer exceeds 64 bits");
}

tl::unexpected<Error> DivisionByZero() {
  return Fail(ErrorCode::kInvalidArgument, "division by zero");
}

// base ** exponent for an exponent that is not negative.
Result<Value> IntegerPower(int64_t base, int64_t exponent) {
  int64_t power = 1;
  while (exponent > 0) {
    if (exponent % 2 == 1 && __builtin_mul_overflow(power, base, &power)) {
      return Overflow();
    }
    exponent /= 2;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) {
      return Overflow();
    }
  }
  return Value::Int(power);
}

Result<Value> IntegerArithmetic(Operator operation, int64_t left, int64_t right) {
  int64_t result = 0;
  bool overflow = false;
  switch (operation) {
    case Operator::kAdd:
      overflow = __builtin_add_overflow(left, right, &result);
      break;
    case Operator::kSubtract:
      overflow = __builtin_sub_overflow(left, right, &result);
      break;
    case Operator::kMultiply:
      overflow = __builtin_mul_overflow(left, right, &result);
      break;
    case Operator::kPower:
      if (right < 0) {
        return left == 0
                   ? Result<Value>(DivisionByZero())
                   : Value::Float(std::pow(static_cast<double>(left), static_cast<double>(right)));
      }
      return IntegerPower(left, right);
    default: {  // // and %, which round towards negative infinity
      if (right == 0) {
        return DivisionByZero();
      }
      if (right == -1) {  // the one quotient that overflows
        overflow = operation == Operator::kFloorDivide && __builtin_sub_overflow(0, left, &result);
        break;
      }
      const int64_t quotient = left / right;
      const int64_t rest = left % right;
      const bool adjust = rest != 0 && (rest < 0) != (right < 0);
      result = operation == Operator::kFloorDivide ? quotient - (adjust ? 1 : 0)
                                                   : rest + (adjust ? right : 0);
    }
  }
  if (overflow) {
    return Overflow();
  }
  return Value::Int(result);
}

Result<Value> FloatArithmetic(Operator operation, double left, double right) {
  switch (operation) {
    case Operator::kAdd:
      return Value::Float(left + right);
    case Operator::kSubtract:
      return Value::Float(left - right);
    case Operator::kMultiply:
      return Value::Float(left * right);
    case Operator::kPower:
      return Value::Float(std::pow(left, right));
    default:
      break;
  }
  if (right == 0) {
    return DivisionByZero();
  }
  if (operation == Operator::kDivide) {
    return Value::Float(left / right);
  }
  double rest = std::fmod(left, right);
  rest += rest != 0 && (rest < 0) != (right < 0) ? right : 0;
  return Value::Float(operation == Operator::kModulo ? rest : std::floor((left - rest) / right));
}

Result<Value> Repeat(const Value& value, int64_t count, Meter& meter) {
  const int64_t times = std::max<int64_t>(count, 0);
  const size_t unit =
      value.is_text() ? value.text().size() : value.list().items.size() * sizeof(Value);
  if (unit > 0 && times > meter.limits().max_value_bytes / static_cast<int64_t>(unit)) {
    return Fail(ErrorCode::kNoSpace, "the values of the template take more than {} bytes",
                meter.limits().max_value_bytes);
  }
  ETCH_TRY(meter.Read(unit * static_cast<size_t>(unit > 0 ? times : 0)));
  if (value.is_text()) {
    std::string text;
    for (int64_t copy = 0; copy < times && unit > 0; ++copy) {
      text += value.text();
    }
    return MakeText(meter, std::move(text));
  }
  std::vector<Value> items;
  for (int64_t copy = 0; copy < times && unit > 0; ++copy) {
    items.insert(items.end(), value.list().items.begin(), value.list().items.end());
  }
  return MakeList(meter, std::move(items), value.list().is_tuple);
}

Result<Value> Concatenate(const Value& left, const Value& right, Meter& meter) {
  if (left.is_safe_text() || right.is_safe_text()) {
    ETCH_TRY(meter.Read(left.text().size() + right.text().size()));
    const auto escaped = [](const Value& value) {
      return value.is_safe_text() ? std::string(value.text()) : EscapeHtml(value.text());
    };
    return MakeSafeText(meter, escaped(left) + escaped(right));
  }
  if (left.is_text()) {
    TextBuilder out(meter);
    ETCH_TRY(out.Append(left.text()));
    ETCH_TRY(out.Append(right.text()));
    return out.Finish();
  }
  std::vector<Value> items = left.list().items;
  items.insert(items.end(), right.list().items.begin(), right.list().items.end());
  return MakeList(meter, std::move(items), left.list().is_tuple);
}

int Sign(double difference) { return difference < 0 ? -1 : difference > 0 ? 1 : 0; }

int OrderNumbers(const Value& left, const Value& right) {
  if (left.is_float() || right.is_float()) {
    return Sign(left.number() - right.number());
  }
  return left.integer() < right.integer() ? -1 : left.integer() > right.integer() ? 1 : 0;
}

Result<bool> Contains(const Value& container, const Value& item, Meter& meter) {
  switch (container.kind()) {
    case Value::Kind::kUndefined:
      return false;
    case Value::Kind::kText:
      if (!item.is_text()) {
        return Fail(ErrorCode::kInvalidArgument, "'in <text>' wants a text on the left, not '{}'",
                    TypeName(item));
      }
      ETCH_TRY(meter.Read(container.text().size()));
      return container.text().find(item.text()) != std::string_view::npos;
    case Value::Kind::kDict: {
      ETCH_ASSIGN_OR_RETURN(const Value* const found, container.dict().Find(item));
      return found != nullptr;
    }
    case Value::Kind::kList:
      for (const Value& candidate : container.list().items) {
        ETCH_ASSIGN_OR_RETURN(const bool equal, Equal(candidate, item, meter));
        if (equal) {
          return true;
        }
      }
      return false;
    default:
      break;
  }
  return Fail(ErrorCode::kInvalidArgument, "a value of type '{}' cannot contain anything",
              TypeName(container));
}

Result<bool> EqualDicts(const Dict& left, const Dict& right, Meter& meter) {
  if (left.entries().size() != right.entries().size()) {
    return false;
  }
  for (const auto& [key, value] : left.entries()) {
    ETCH_ASSIGN_OR_RETURN(const Value* const other, right.Find(key));
    if (other == nullptr) {
      return false;
    }
    ETCH_ASSIGN_OR_RETURN(const bool equal, Equal(value, *other, meter));
    if (!equal) {
      return false;
    }
  }
  return true;
}

// A bound of a slice: negative counts from the end, then into [low, high].
Result<int64_t> SliceBound(const Value* bound, int64_t absent, int64_t length, int64_t low,
                           int64_t high) {
  if (bound == nullptr || bound->is_none()) {
    return absent;
  }
  if (!bound->is_int() && !bound->is_bool()) {
    return Fail(ErrorCode::kInvalidArgument, "a slice wants integers, not '{}'", TypeName(*bound));
  }
  const int64_t index = bound->integer();
  return std::clamp(index < 0 ? std::max(index, -length - 1) + length : index, low, high);
}

}  // namespace

tl::unexpected<Error> UndefinedError(const Value& value) {
  return Fail(ErrorCode::kInvalidArgument, "{}", value.why_undefined());
}

Result<Value> Arithmetic(Operator operation, const Value& left, const Value& right, Meter& meter) {
  if (left.is_number() && right.is_number()) {
    if (operation != Operator::kDivide && !left.is_float() && !right.is_float()) {
      return IntegerArithmetic(operation, left.integer(), right.integer());
    }
    return FloatArithmetic(operation, left.number(), right.number());
  }
  const bool both_texts = left.is_text() && right.is_text();
  const bool both_lists =
      left.is_list() && right.is_list() && left.list().is_tuple == right.list().is_tuple;
  if (operation == Operator::kAdd && (both_texts || both_lists)) {
    return Concatenate(left, right, meter);
  }
  const bool left_repeats = left.is_text() || left.is_list();
  const bool right_repeats = right.is_text() || right.is_list();
  if (operation == Operator::kMultiply && left_repeats && (right.is_int() || right.is_bool())) {
    return Repeat(left, right.integer(), meter);
  }
  if (operation == Operator::kMultiply && right_repeats && (left.is_int() || left.is_bool())) {
    return Repeat(right, left.integer(), meter);
  }
  if (operation == Operator::kModulo && left.is_text() && !right.is_undefined()) {
    return FormatPercent(left.text(), right, meter);
  }
  return BadOperands(operation, left, right);
}

Result<Value> Negate(const Value& value) {
  if (value.is_float()) {
    return Value::Float(-value.number());
  }
  if (value.is_undefined()) {
    return UndefinedError(value);
  }
  if (!value.is_number()) {
    return Fail(ErrorCode::kInvalidArgument, "a value of type '{}' has no sign", TypeName(value));
  }
  return IntegerArithmetic(Operator::kSubtract, 0, value.integer());
}

Result<bool> Equal(const Value& left, const Value& right, Meter& meter) {
  ETCH_TRY(meter.Step());
  if (left.is_number() && right.is_number()) {
    return OrderNumbers(left, right) == 0 && !std::isnan(left.number()) &&
           !std::isnan(right.number());
  }
  if (left.kind() != right.kind()) {
    return false;
  }
  if (left.is_text()) {
    ETCH_TRY(meter.Read(std::min(left.text().size(), right.text().size())));
    return left.text() == right.text();
  }
  if (left.is_dict()) {
    return EqualDicts(left.dict(), right.dict(), meter);
  }
  if (!left.is_list()) {
    return left.SameAs(right);
  }
  const List& left_list = left.list();
  const List& right_list = right.list();
  if (left_list.is_tuple != right_list.is_tuple ||
      left_list.items.size() != right_list.items.size()) {
    return false;
  }
  for (size_t index = 0; index < left_list.items.size(); ++index) {
    ETCH_ASSIGN_OR_RETURN(const bool equal,
                          Equal(left_list.items[index], right_list.items[index], meter));
    if (!equal) {
      return false;
    }
  }
  return true;
}

Result<int> Order(const Value& left, const Value& right, Meter& meter) {
  ETCH_TRY(meter.Step());
  if (left.is_number() && right.is_number()) {
    return OrderNumbers(left, right);
  }
  if (left.is_text() && right.is_text()) {
    // Bytes of UTF-8 sort as code points do.
    ETCH_TRY(meter.Read(std::min(left.text().size(), right.text().size())));
    return left.text().compare(right.text());
  }
  if (left.is_list() && right.is_list() && left.list().is_tuple == right.list().is_tuple) {
    const std::vector<Value>& left_items = left.list().items;
    const std::vector<Value>& right_items = right.list().items;
    for (size_t index = 0; index < std::min(left_items.size(), right_items.size()); ++index) {
      ETCH_ASSIGN_OR_RETURN(const bool equal, Equal(left_items[index], right_items[index], meter));
      if (!equal) {
        return Order(left_items[index], right_items[index], meter);
      }
    }
    return left_items.size() < right_items.size()   ? -1
           : left_items.size() > right_items.size() ? 1
                                                    : 0;
  }
  return BadOperands(Operator::kLess, left, right);
}

Result<bool> Compare(Operator operation, const Value& left, const Value& right, Meter& meter) {
  switch (operation) {
    case Operator::kEqual:
      return Equal(left, right, meter);
    case Operator::kNotEqual: {
      ETCH_ASSIGN_OR_RETURN(const bool equal, Equal(left, right, meter));
      return !equal;
    }
    case Operator::kIn:
      return Contains(right, left, meter);
    case Operator::kNotIn: {
      ETCH_ASSIGN_OR_RETURN(const bool found, Contains(right, left, meter));
      return !found;
    }
    default:
      break;
  }
  if ((left.is_float() && std::isnan(left.number())) ||
      (right.is_float() && std::isnan(right.number()))) {
    return false;
  }
  ETCH_ASSIGN_OR_RETURN(const int order, Order(left, right, meter));
  switch (operation) {
    case Operator::kLess:
      return order < 0;
    case Operator::kLessEqual:
      return order <= 0;
    case Operator::kGreater:
      return order > 0;
    default:
      return order >= 0;
  }
}

Result<std::vector<Value>> Items(const Value& value, Meter& meter) {
  std::vector<Value> items;
  switch (value.kind()) {
    case Value::Kind::kUndefined:
      return items;
    case Value::Kind::kList:
      ETCH_TRY(meter.Read(value.list().items.size()));
      return value.list().items;
    case Value::Kind::kDict:
      ETCH_TRY(meter.Read(value.dict().entries().size()));
      for (const Dict::Entry& entry : value.dict().entries()) {
        items.push_back(entry.first);
      }
      return items;
    case Value::Kind::kText:
      ETCH_TRY(meter.Read(value.text().size()));
      for (size_t offset = 0; offset < value.text().size();) {
        const std::string_view bytes = CodePointAt(value.text(), offset).bytes;
        ETCH_ASSIGN_OR_RETURN(Value item, MakeText(meter, std::string(bytes)));
        items.push_back(std::move(item));
        offset += bytes.size();
      }
      return items;
    default:
      break;
  }
  return Fail(ErrorCode::kInvalidArgument, "a value of type '{}' is not iterable", TypeName(value));
}

Result<int64_t> Length(const Value& value, Meter& meter) {
  switch (value.kind()) {
    case Value::Kind::kUndefined:
      return 0;
    case Value::Kind::kText:
      ETCH_TRY(meter.Read(value.text().size()));
      return CountCodePoints(value.text());
    case Value::Kind::kList:
      return static_cast<int64_t>(value.list().items.size());
    case Value::Kind::kDict:
      return static_cast<int64_t>(value.dict().entries().size());
    default:
      break;
  }
  return Fail(ErrorCode::kInvalidArgument, "a value of type '{}' has no length", TypeName(value));
}

Result<Value> Slice(const Value& value, const Value* begin, const Value* end, const Value* step,
                    Meter& meter) {
  if (value.is_undefined()) {
    return UndefinedError(value);
  }
  if (!value.is_text() && !value.is_list()) {
    return Fail(ErrorCode::kInvalidArgument, "a value of type '{}' cannot be sliced",
                TypeName(value));
  }
  if (step != nullptr && !step->is_none() && !step->is_int()) {
    return Fail(ErrorCode::kInvalidArgument, "a slice wants integers, not '{}'", TypeName(*step));
  }
  const int64_t stride = step == nullptr || step->is_none() ? 1 : step->integer();
  if (stride == 0) {
    return Fail(ErrorCode::kInvalidArgument, "the step of a slice is 0");
  }
  const std::vector<CodePoint> points =
      value.is_text() ? SplitCodePoints(value.text()) : std::vector<CodePoint>();
  const int64_t length =
      static_cast<int64_t>(value.is_text() ? points.size() : value.list().items.size());
  ETCH_TRY(meter.Read(value.is_text() ? value.text().size() : static_cast<size_t>(length)));
  const int64_t low = stride > 0 ? 0 : -1;
  const int64_t high = stride > 0 ? length : length - 1;
  ETCH_ASSIGN_OR_RETURN(const int64_t first,
                        SliceBound(begin, stride > 0 ? low : high, length, low, high));
  ETCH_ASSIGN_OR_RETURN(const int64_t last,
                        SliceBound(end, stride > 0 ? high : low, length, low, high));
  std::string text;
  std::vector<Value> items;
  for (int64_t index = first; stride > 0 ? index < last : index > last;) {
    if (value.is_text()) {
      text += points[static_cast<size_t>(index)].bytes;
    } else {
      items.push_back(value.list().items[static_cast<size_t>(index)]);
    }
    if (__builtin_add_overflow(index, stride, &index)) {
      break;
    }
  }
  return value.is_text() ? MakeText(meter, std::move(text))
                         : MakeList(meter, std::move(items), value.list().is_tuple);
}

}  // namespace etch::jinja
