// Methods are tables by type: a name that is in none of them does not exist, whatever Python has
// under it. Methods that change a list or a dict are known by name only to say that they are
// refused.

#include "text/jinja/methods.h"

#include <algorithm>
#include <array>

#include "text/jinja/arguments.h"
#include "text/jinja/operators.h"

namespace etch::jinja {
namespace {

Result<Value> ListCount(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  ETCH_ASSIGN_OR_RETURN(const std::vector<Value> bound, Bind("count", {{"value"}}, arguments));
  int64_t count = 0;
  for (const Value& item : self.list().items) {
    ETCH_ASSIGN_OR_RETURN(const bool equal, Equal(item, bound[0], interpreter.meter()));
    count += equal ? 1 : 0;
  }
  return Value::Int(count);
}

Result<Value> ListIndex(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  ETCH_ASSIGN_OR_RETURN(const std::vector<Value> bound, Bind("index", {{"value"}}, arguments));
  for (size_t index = 0; index < self.list().items.size(); ++index) {
    ETCH_ASSIGN_OR_RETURN(const bool equal,
                          Equal(self.list().items[index], bound[0], interpreter.meter()));
    if (equal) {
      return Value::Int(static_cast<int64_t>(index));
    }
  }
  return Fail(ErrorCode::kInvalidArgument, "the value is not in the list");
}

Result<Value> CopySelf(Interpreter&, const Value& self, const Arguments& arguments) {
  ETCH_TRY(Bind("copy", {}, arguments));
  return self;  // values do not change, so the value is its own copy
}

Result<Value> DictGet(Interpreter&, const Value& self, const Arguments& arguments) {
  ETCH_ASSIGN_OR_RETURN(std::vector<Value> bound,
                        Bind("get", {{"key"}, {"default", Value::None()}}, arguments));
  if (bound[0].is_undefined()) {
    return std::move(bound[1]);
  }
  ETCH_ASSIGN_OR_RETURN(const Value* const found, self.dict().Find(bound[0]));
  return found == nullptr ? std::move(bound[1]) : *found;
}

Result<Value> DictItemsMethod(Interpreter& interpreter, const Value& self,
                              const Arguments& arguments) {
  ETCH_TRY(Bind("items", {}, arguments));
  return DictItems(self.dict(), interpreter.meter());
}

Result<Value> DictKeys(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  ETCH_TRY(Bind("keys", {}, arguments));
  ETCH_ASSIGN_OR_RETURN(std::vector<Value> keys, Items(self, interpreter.meter()));
  return MakeList(interpreter.meter(), std::move(keys));
}

Result<Value> DictValues(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  ETCH_TRY(Bind("values", {}, arguments));
  ETCH_TRY(interpreter.meter().Step(static_cast<int64_t>(self.dict().entries().size())));
  std::vector<Value> values;
  for (const Dict::Entry& entry : self.dict().entries()) {
    values.push_back(entry.second);
  }
  return MakeList(interpreter.meter(), std::move(values));
}

Result<Value> LoopCycle(Interpreter&, const Value& self, const Arguments& arguments) {
  const std::vector<Value>& values = arguments.positional;
  if (values.empty()) {
    return Fail(ErrorCode::kInvalidArgument, "cycle needs values");
  }
  return values[std::get<Loop>(self.object().body).index % values.size()];
}

Result<Value> LoopChanged(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  Loop& loop = std::get<Loop>(self.object().body);
  bool same = loop.last_changed.size() == arguments.positional.size();
  for (size_t index = 0; same && index < loop.last_changed.size(); ++index) {
    ETCH_ASSIGN_OR_RETURN(
        same, Equal(loop.last_changed[index], arguments.positional[index], interpreter.meter()));
  }
  const bool first = loop.last_changed.empty();
  loop.last_changed = arguments.positional;
  return Value::Bool(first || !same);
}

Result<Value> CyclerNext(Interpreter&, const Value& self, const Arguments& arguments) {
  ETCH_TRY(Bind("next", {}, arguments));
  Cycler& cycler = std::get<Cycler>(self.object().body);
  const size_t position = cycler.position;
  cycler.position = (position + 1) % cycler.items.size();
  return cycler.items[position];
}

Result<Value> CyclerReset(Interpreter&, const Value& self, const Arguments& arguments) {
  ETCH_TRY(Bind("reset", {}, arguments));
  std::get<Cycler>(self.object().body).position = 0;
  return Value::None();
}

struct Entry {
  std::string_view name;
  MethodFunction function;
};

constexpr Entry kListMethods[] = {{"count", ListCount}, {"index", ListIndex}, {"copy", CopySelf}};
constexpr Entry kDictMethods[] = {{"get", DictGet},
                                  {"items", DictItemsMethod},
                                  {"keys", DictKeys},
                                  {"values", DictValues},
                                  {"copy", CopySelf}};
constexpr Entry kLoopMethods[] = {{"cycle", LoopCycle}, {"changed", LoopChanged}};
constexpr Entry kCyclerMethods[] = {{"next", CyclerNext}, {"reset", CyclerReset}};

constexpr std::array<std::string_view, 8> kListMutators = {"append", "pop",   "insert",  "extend",
                                                           "remove", "clear", "reverse", "sort"};
constexpr std::array<std::string_view, 5> kDictMutators = {"pop", "update", "setdefault", "popitem",
                                                           "clear"};

template <class Table>
MethodFunction FindIn(const Table& table, std::string_view name) {
  for (const Entry& entry : table) {
    if (entry.name == name) {
      return entry.function;
    }
  }
  return nullptr;
}

MethodFunction FindMethod(const Value& value, std::string_view name) {
  switch (value.kind()) {
    case Value::Kind::kText:
      return FindTextMethod(name);
    case Value::Kind::kList:
      return FindIn(kListMethods, name);
    case Value::Kind::kDict:
      return FindIn(kDictMethods, name);
    case Value::Kind::kObject:
      if (std::holds_alternative<Loop>(value.object().body)) {
        return FindIn(kLoopMethods, name);
      }
      if (std::holds_alternative<Cycler>(value.object().body)) {
        return FindIn(kCyclerMethods, name);
      }
      break;
    default:
      break;
  }
  return nullptr;
}

bool IsMutator(const Value& value, std::string_view name) {
  const auto in = [&](const auto& names) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  return (value.is_list() && !value.list().is_tuple && in(kListMutators)) ||
         (value.is_dict() && in(kDictMutators));
}

}  // namespace

Result<Value> DictItems(const Dict& dict, Meter& meter) {
  std::vector<Value> items;
  for (const auto& [key, value] : dict.entries()) {
    ETCH_TRY(meter.Step());
    ETCH_ASSIGN_OR_RETURN(Value pair, MakeList(meter, {key, value}, true));
    items.push_back(std::move(pair));
  }
  return MakeList(meter, std::move(items));
}

bool HasMethod(const Value& value, std::string_view name) {
  return FindMethod(value, name) != nullptr || IsMutator(value, name);
}

Result<Value> CallMethod(Interpreter& interpreter, const Value& value, std::string_view name,
                         const Arguments& arguments) {
  if (IsMutator(value, name)) {
    return Fail(ErrorCode::kUnsupported, "{}.{} would change a value, which a template must not do",
                TypeName(value), name);
  }
  return FindMethod(value, name)(interpreter, value, arguments);
}

}  // namespace etch::jinja
