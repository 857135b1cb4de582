// Attributes, items and calls. Python's objects have attributes that lead to the interpreter itself
// (__class__, __globals__ …), which is how hostile templates escape from Jinja; here a value has
// the entries of its own tables and nothing else, so there is no list of forbidden names to get
// wrong.

#include "text/jinja/interpreter.h"
#include "text/jinja/methods.h"
#include "text/jinja/operators.h"
#include "text/jinja/unicode.h"

namespace etch::jinja {
namespace {

Value LoopAttribute(const Loop& loop, std::string_view name, bool* found) {
  const std::vector<Value>& items = loop.items.list().items;
  const int64_t count = static_cast<int64_t>(items.size());
  const int64_t index = static_cast<int64_t>(loop.index);
  *found = true;
  if (name == "index") {
    return Value::Int(index + 1);
  }
  if (name == "index0") {
    return Value::Int(index);
  }
  if (name == "revindex") {
    return Value::Int(count - index);
  }
  if (name == "revindex0") {
    return Value::Int(count - index - 1);
  }
  if (name == "first") {
    return Value::Bool(index == 0);
  }
  if (name == "last") {
    return Value::Bool(index + 1 == count);
  }
  if (name == "length") {
    return Value::Int(count);
  }
  if (name == "depth") {
    return Value::Int(1);  // of recursive loops, which are not supported
  }
  if (name == "depth0") {
    return Value::Int(0);
  }
  if (name == "previtem") {
    return index > 0 && index <= count ? items[loop.index - 1]
                                       : Value::UndefinedBecause("there is no item before");
  }
  if (name == "nextitem") {
    return index + 1 < count ? items[loop.index + 1]
                             : Value::UndefinedBecause("there is no item after the last");
  }
  *found = false;
  return {};
}

Value Missing(const Value& value, std::string_view name) {
  return Value::UndefinedBecause(
      fmt::format("'{} object' has no attribute '{}'", TypeName(value), name));
}

Value MissingElement(const Value& value, int64_t index) {
  return Value::UndefinedBecause(
      fmt::format("'{} object' has no element {}", TypeName(value), index));
}

Value ObjectAttribute(const Value& value, std::string_view name) {
  const Object& object = value.object();
  if (const auto* space = std::get_if<Namespace>(&object.body); space != nullptr) {
    const Value* found = space->attributes.Find(name);
    return found == nullptr ? Missing(value, name) : *found;
  }
  if (const auto* loop = std::get_if<Loop>(&object.body); loop != nullptr) {
    bool found = false;
    Value attribute = LoopAttribute(*loop, name, &found);
    return found ? attribute : Missing(value, name);
  }
  if (const auto* cycler = std::get_if<Cycler>(&object.body);
      cycler != nullptr && name == "current") {
    return cycler->items[cycler->position];
  }
  return Missing(value, name);
}

}  // namespace

Result<Value> Interpreter::Attribute(const Value& value, std::string_view name) {
  if (value.is_undefined()) {
    return UndefinedError(value);
  }
  if (HasMethod(value, name)) {
    return NewObject({Method{value, std::string(name)}}, name.size());
  }
  if (value.is_object()) {
    return ObjectAttribute(value, name);
  }
  if (value.is_dict()) {
    if (const Value* found = value.dict().Find(name); found != nullptr) {
      return *found;
    }
  }
  return Missing(value, name);
}

Result<Value> Interpreter::Item(const Value& value, const Value& key) {
  if (value.is_undefined()) {
    return UndefinedError(value);
  }
  if (value.is_dict()) {
    if (key.is_undefined()) {
      return Missing(value, "Undefined");
    }
    ETCH_ASSIGN_OR_RETURN(const Value* const found, value.dict().Find(key));
    if (found != nullptr) {
      return *found;
    }
  }
  if (key.is_text()) {
    return Attribute(value, key.text());
  }
  if ((!key.is_int() && !key.is_bool()) || (!value.is_list() && !value.is_text())) {
    return Value::UndefinedBecause(
        fmt::format("'{} object' has no element of type '{}'", TypeName(value), TypeName(key)));
  }
  ETCH_ASSIGN_OR_RETURN(const int64_t length, Length(value, meter_));
  const int64_t index = key.integer() < 0 ? key.integer() + length : key.integer();
  if (index < 0 || index >= length) {
    return MissingElement(value, key.integer());
  }
  if (value.is_list()) {
    return value.list().items[static_cast<size_t>(index)];
  }
  size_t offset = 0;
  for (int64_t skipped = 0; skipped < index; ++skipped) {
    offset += CodePointAt(value.text(), offset).bytes.size();
  }
  return MakeText(meter_, std::string(CodePointAt(value.text(), offset).bytes));
}

Result<Value> Interpreter::CallNamed(const Value& receiver, std::string_view name,
                                     const Arguments& arguments) {
  if (HasMethod(receiver, name)) {
    return CallMethod(*this, receiver, name, arguments);
  }
  ETCH_ASSIGN_OR_RETURN(const Value attribute, Attribute(receiver, name));
  return Call(attribute, arguments);
}

Result<Value> Interpreter::Call(const Value& callee, const Arguments& arguments) {
  if (callee.is_undefined()) {
    return UndefinedError(callee);
  }
  if (callee.is_object()) {
    Object& object = callee.object();
    if (const auto* macro = std::get_if<Macro>(&object.body); macro != nullptr) {
      return CallMacro(*macro, arguments);
    }
    if (const auto* function = std::get_if<Function>(&object.body); function != nullptr) {
      return function->function(*this, arguments);
    }
    if (const auto* method = std::get_if<Method>(&object.body); method != nullptr) {
      return CallMethod(*this, method->receiver, method->name, arguments);
    }
    if (auto* joiner = std::get_if<Joiner>(&object.body); joiner != nullptr) {
      const bool first = !joiner->used;
      joiner->used = true;
      return first ? Value::Literal("") : joiner->separator;
    }
  }
  return Fail(ErrorCode::kInvalidArgument, "a value of type '{}' cannot be called",
              TypeName(callee));
}

}  // namespace etch::jinja
