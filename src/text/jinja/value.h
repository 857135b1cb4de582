#pragma once

// The values of a template: Python's None, bool, int (64 bits), float, str, list, tuple and dict,
// Jinja's Undefined, and a few objects that the engine owns (namespaces, macros, loops, functions).
// Values are immutable but for namespaces and loops, so they form no cycles.

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/error.h"
#include "text/jinja/meter.h"

namespace etch::jinja {

struct Object;
class Dict;
struct List;

struct Text {
  std::string bytes;  // UTF-8, unchecked
  Charge charge;
  bool is_safe = false;  // Jinja's Markup: + escapes what is added to it
};

class Value {
 public:
  enum class Kind { kUndefined, kNone, kBool, kInt, kFloat, kText, kList, kDict, kObject };

  Value() : data_(Undefined{}) {}  // undefined, without a name
  static Value None() { return Value(Data(NoneType{})); }
  static Value Bool(bool value) { return Value(Data(value)); }
  static Value Int(int64_t value) { return Value(Data(value)); }
  static Value Float(double value) { return Value(Data(value)); }
  static Value Of(Object* object) { return Value(Data(object)); }
  // Text that no meter pays for: literals of the source and names.
  static Value Literal(std::string_view text);
  // Undefined; `why` is the message of the error that its use raises: "'x' is undefined".
  static Value UndefinedBecause(std::string_view why);

  Kind kind() const { return static_cast<Kind>(data_.index()); }
  bool is_undefined() const { return kind() == Kind::kUndefined; }
  bool is_none() const { return kind() == Kind::kNone; }
  bool is_bool() const { return kind() == Kind::kBool; }
  bool is_int() const { return kind() == Kind::kInt; }
  bool is_float() const { return kind() == Kind::kFloat; }
  bool is_text() const { return kind() == Kind::kText; }
  bool is_list() const { return kind() == Kind::kList; }  // or tuple
  bool is_dict() const { return kind() == Kind::kDict; }
  bool is_object() const { return kind() == Kind::kObject; }
  bool is_number() const { return is_bool() || is_int() || is_float(); }

  // The content; the caller has checked the kind.
  bool boolean() const { return std::get<bool>(data_); }
  std::string_view text() const { return std::get<TextPtr>(data_)->bytes; }
  bool is_safe_text() const { return is_text() && std::get<TextPtr>(data_)->is_safe; }
  const List& list() const { return *std::get<ListPtr>(data_); }
  const Dict& dict() const { return *std::get<DictPtr>(data_); }
  Object& object() const { return *std::get<Object*>(data_); }
  // A bool, int or float as a number.
  int64_t integer() const;
  double number() const;
  // The message of an undefined value.
  std::string_view why_undefined() const;
  // Whether two values are the same object: `is sameas`.
  bool SameAs(const Value& other) const;

 private:
  // Values are copied often (every variable read), so their content is shared and counted.
  using TextPtr = std::shared_ptr<const Text>;
  using ListPtr = std::shared_ptr<const List>;
  using DictPtr = std::shared_ptr<const Dict>;
  struct Undefined {
    TextPtr why;
  };
  struct NoneType {};
  using Data =
      std::variant<Undefined, NoneType, bool, int64_t, double, TextPtr, ListPtr, DictPtr, Object*>;

  explicit Value(Data data) : data_(std::move(data)) {}
  friend Result<Value> MakeText(Meter& meter, std::string bytes, Charge charge);
  friend Result<Value> MakeSafeText(Meter& meter, std::string bytes);
  friend Result<Value> MakeList(Meter& meter, std::vector<Value> items, bool is_tuple);
  friend Result<Value> MakeDict(Meter& meter, Dict dict);

  Data data_;
};

struct List {
  std::vector<Value> items;
  bool is_tuple = false;
  int depth = 1;  // of lists in lists
  Charge charge;
};

// Entries in the order of insertion; keys are any value that Python can hash.
class Dict {
 public:
  using Entry = std::pair<Value, Value>;

  const std::vector<Entry>& entries() const { return entries_; }
  // Null when absent.
  const Value* Find(std::string_view key) const;
  Result<const Value*> Find(const Value& key) const;  // kInvalidArgument: unhashable
  Status Set(const Value& key, Value value);
  void Set(std::string_view key, Value value);

 private:
  friend Result<Value> MakeDict(Meter& meter, Dict dict);
  using Index = std::map<std::string, size_t, std::less<>>;

  std::vector<Entry> entries_;
  Index texts_;   // text keys
  Index others_;  // the rest, in a canonical spelling
  int depth_ = 1;
  Charge charge_;

  friend int DepthOf(const Value& value);
};

// Values that a meter pays for. They fail with kNoSpace, also when nested deeper than max_depth.
Result<Value> MakeText(Meter& meter, std::string bytes);
Result<Value> MakeText(Meter& meter, std::string bytes, Charge charge);  // already paid
Result<Value> MakeSafeText(Meter& meter, std::string bytes);
Result<Value> MakeList(Meter& meter, std::vector<Value> items, bool is_tuple = false);
Result<Value> MakeDict(Meter& meter, Dict dict);

// Arguments of a call, a filter or a test.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

// Text that grows under a meter.
class TextBuilder {
 public:
  explicit TextBuilder(Meter& meter) : meter_(&meter), max_bytes_(0) {}
  // A builder of output, of at most `max_bytes`.
  TextBuilder(Meter& meter, int64_t max_bytes) : meter_(&meter), max_bytes_(max_bytes) {}

  Status Append(std::string_view text);
  Result<Value> Finish() { return MakeText(*meter_, std::move(text_), std::move(charge_)); }
  std::string Take() { return std::move(text_); }
  const std::string& text() const { return text_; }

 private:
  Meter* meter_;
  int64_t max_bytes_;  // 0: only what the meter allows
  std::string text_;
  Charge charge_;
};

// The name of the type as Python spells it: 'str', 'int', 'NoneType' …
std::string_view TypeName(const Value& value);
bool Truthy(const Value& value);

}  // namespace etch::jinja
