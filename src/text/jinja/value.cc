// Values are small handles on shared, immutable content. Each text, list and dict carries the
// charge of its own bytes, so dropping the last handle gives them back to the meter, and the depth
// of what it holds, so that walking or destroying a value never recurses deeper than the limit.
// Copying content on assignment was rejected: every variable read would cost its size.

#include "text/jinja/value.h"

#include <algorithm>
#include <cmath>

#include "text/jinja/object.h"

namespace etch::jinja {
namespace {

constexpr size_t kTextOverhead = 96;   // control block, string header, charge
constexpr size_t kListOverhead = 96;   // the same for a vector
constexpr size_t kEntryOverhead = 96;  // map node and index

// One spelling for all keys that Python holds equal: 1, 1.0 and True are the same key.
Result<std::string> CanonicalKey(const Value& key) {
  switch (key.kind()) {
    case Value::Kind::kNone:
      return "none";
    case Value::Kind::kBool:
    case Value::Kind::kInt:
      return fmt::format("i{}", key.integer());
    case Value::Kind::kFloat: {
      const double number = key.number();
      if (number == std::floor(number) && std::abs(number) < 9e18) {
        return fmt::format("i{}", static_cast<int64_t>(number));
      }
      return fmt::format("f{}", number);
    }
    case Value::Kind::kText:
      return fmt::format("s{}:{}", key.text().size(), key.text());
    case Value::Kind::kObject:
      return fmt::format("o{}", static_cast<const void*>(&key.object()));
    case Value::Kind::kList:
      if (key.list().is_tuple) {
        std::string spelling = "(";
        for (const Value& item : key.list().items) {
          ETCH_ASSIGN_OR_RETURN(const std::string part, CanonicalKey(item));
          spelling += part + ",";
          if (spelling.size() > 4096) {
            return Fail(ErrorCode::kUnsupported, "a tuple as key is longer than 4096 bytes");
          }
        }
        return spelling;
      }
      break;
    case Value::Kind::kUndefined:
    case Value::Kind::kDict:
      break;
  }
  return Fail(ErrorCode::kInvalidArgument, "unhashable type: '{}'", TypeName(key));
}

}  // namespace

Value Value::Literal(std::string_view text) {
  return Value(Data(std::make_shared<const Text>(Text{.bytes = std::string(text), .charge = {}})));
}

Value Value::UndefinedBecause(std::string_view why) {
  return Value(
      Data(Undefined{std::make_shared<const Text>(Text{.bytes = std::string(why), .charge = {}})}));
}

int64_t Value::integer() const {
  return is_bool() ? static_cast<int64_t>(boolean()) : std::get<int64_t>(data_);
}

double Value::number() const {
  return is_float() ? std::get<double>(data_) : static_cast<double>(integer());
}

std::string_view Value::why_undefined() const {
  const TextPtr& why = std::get<Undefined>(data_).why;
  return why == nullptr ? std::string_view("the value is undefined") : why->bytes;
}

bool Value::SameAs(const Value& other) const {
  if (kind() != other.kind()) {
    return false;
  }
  switch (kind()) {
    case Kind::kText:
      return text() == other.text();
    case Kind::kList:
      return &list() == &other.list();
    case Kind::kDict:
      return &dict() == &other.dict();
    case Kind::kObject:
      return &object() == &other.object();
    case Kind::kFloat:
      return number() == other.number();
    case Kind::kBool:
    case Kind::kInt:
      return integer() == other.integer();
    case Kind::kUndefined:
    case Kind::kNone:
      break;
  }
  return true;
}

const Value* Dict::Find(std::string_view key) const {
  const auto found = texts_.find(key);
  return found == texts_.end() ? nullptr : &entries_[found->second].second;
}

Result<const Value*> Dict::Find(const Value& key) const {
  if (key.is_text()) {
    return Find(key.text());
  }
  ETCH_ASSIGN_OR_RETURN(const std::string spelling, CanonicalKey(key));
  const auto found = others_.find(spelling);
  return found == others_.end() ? nullptr : &entries_[found->second].second;
}

void Dict::Set(std::string_view key, Value value) {
  const auto found = texts_.find(key);
  if (found != texts_.end()) {
    entries_[found->second].second = std::move(value);
    return;
  }
  texts_.emplace(key, entries_.size());
  entries_.emplace_back(Value::Literal(key), std::move(value));
}

Status Dict::Set(const Value& key, Value value) {
  if (key.is_text()) {
    Set(key.text(), std::move(value));
    return {};
  }
  ETCH_ASSIGN_OR_RETURN(std::string spelling, CanonicalKey(key));
  const auto [place, inserted] = others_.emplace(std::move(spelling), entries_.size());
  if (inserted) {
    entries_.emplace_back(key, std::move(value));
  } else {
    entries_[place->second].second = std::move(value);
  }
  return {};
}

int DepthOf(const Value& value) {
  if (value.is_list()) {
    return value.list().depth;
  }
  return value.is_dict() ? value.dict().depth_ : 0;
}

Result<Value> MakeText(Meter& meter, std::string bytes) {
  ETCH_ASSIGN_OR_RETURN(Charge charge, Charge::Take(meter, bytes.size()));
  return MakeText(meter, std::move(bytes), std::move(charge));
}

Result<Value> MakeText(Meter& meter, std::string bytes, Charge charge) {
  ETCH_TRY(charge.Grow(meter, kTextOverhead));
  return Value(Value::Data(
      std::make_shared<const Text>(Text{.bytes = std::move(bytes), .charge = std::move(charge)})));
}

Result<Value> MakeSafeText(Meter& meter, std::string bytes) {
  ETCH_ASSIGN_OR_RETURN(Charge charge, Charge::Take(meter, bytes.size() + kTextOverhead));
  return Value(Value::Data(std::make_shared<const Text>(
      Text{.bytes = std::move(bytes), .charge = std::move(charge), .is_safe = true})));
}

Result<Value> MakeList(Meter& meter, std::vector<Value> items, bool is_tuple) {
  int depth = 0;
  for (const Value& item : items) {
    depth = std::max(depth, DepthOf(item));
  }
  if (depth >= meter.limits().max_depth) {
    return Fail(ErrorCode::kNoSpace, "lists are nested deeper than {}", meter.limits().max_depth);
  }
  ETCH_ASSIGN_OR_RETURN(Charge charge,
                        Charge::Take(meter, kListOverhead + items.size() * sizeof(Value)));
  return Value(Value::Data(std::make_shared<const List>(
      List{std::move(items), is_tuple, depth + 1, std::move(charge)})));
}

Result<Value> MakeDict(Meter& meter, Dict dict) {
  int depth = 0;
  size_t bytes = kListOverhead;
  for (const Dict::Entry& entry : dict.entries_) {
    depth = std::max({depth, DepthOf(entry.first), DepthOf(entry.second)});
    bytes +=
        kEntryOverhead + sizeof entry + (entry.first.is_text() ? entry.first.text().size() : 0);
  }
  if (depth >= meter.limits().max_depth) {
    return Fail(ErrorCode::kNoSpace, "dicts are nested deeper than {}", meter.limits().max_depth);
  }
  ETCH_ASSIGN_OR_RETURN(dict.charge_, Charge::Take(meter, bytes));
  dict.depth_ = depth + 1;
  return Value(Value::Data(std::make_shared<const Dict>(std::move(dict))));
}

Status TextBuilder::Append(std::string_view text) {
  if (max_bytes_ > 0 && text_.size() + text.size() > static_cast<size_t>(max_bytes_)) {
    return Fail(ErrorCode::kNoSpace, "the template writes more than {} bytes", max_bytes_);
  }
  ETCH_TRY(charge_.Grow(*meter_, text.size()));
  text_.append(text);
  return {};
}

std::string_view TypeName(const Value& value) {
  switch (value.kind()) {
    case Value::Kind::kUndefined:
      return "Undefined";
    case Value::Kind::kNone:
      return "NoneType";
    case Value::Kind::kBool:
      return "bool";
    case Value::Kind::kInt:
      return "int";
    case Value::Kind::kFloat:
      return "float";
    case Value::Kind::kText:
      return "str";
    case Value::Kind::kList:
      return value.list().is_tuple ? "tuple" : "list";
    case Value::Kind::kDict:
      return "dict";
    case Value::Kind::kObject:
      break;
  }
  static constexpr std::string_view kNames[] = {"Namespace",
                                                "Macro",
                                                "LoopContext",
                                                "Cycler",
                                                "Joiner",
                                                "function",
                                                "builtin_function_or_method"};
  return kNames[value.object().body.index()];
}

bool Truthy(const Value& value) {
  switch (value.kind()) {
    case Value::Kind::kUndefined:
    case Value::Kind::kNone:
      return false;
    case Value::Kind::kBool:
    case Value::Kind::kInt:
      return value.integer() != 0;
    case Value::Kind::kFloat:
      return value.number() != 0;
    case Value::Kind::kText:
      return !value.text().empty();
    case Value::Kind::kList:
      return !value.list().items.empty();
    case Value::Kind::kDict:
      return !value.dict().entries().empty();
    case Value::Kind::kObject:
      break;
  }
  return true;
}

}  // namespace etch::jinja
