// Filters that order and regroup sequences.

#include <algorithm>

#include "text/jinja/arguments.h"
#include "text/jinja/filters.h"
#include "text/jinja/operators.h"
#include "text/jinja/unicode.h"

namespace etch::jinja {
namespace {

Result<Value> ListFilter(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  ETCH_TRY(Bind("list", {}, arguments));
  ETCH_ASSIGN_OR_RETURN(std::vector<Value> items, Items(value, interpreter.meter()));
  return MakeList(interpreter.meter(), std::move(items));
}

template <bool kLast>
Result<Value> End(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  ETCH_TRY(Bind(kLast ? "last" : "first", {}, arguments));
  ETCH_ASSIGN_OR_RETURN(std::vector<Value> items, Items(value, interpreter.meter()));
  if (items.empty()) {
    return Value::UndefinedBecause("the sequence is empty");
  }
  return kLast ? std::move(items.back()) : std::move(items.front());
}

Result<Value> Reverse(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  ETCH_TRY(Bind("reverse", {}, arguments));
  if (value.is_text()) {
    const Value backwards = Value::Int(-1);
    return Slice(value, nullptr, nullptr, &backwards, interpreter.meter());
  }
  ETCH_ASSIGN_OR_RETURN(std::vector<Value> items, Items(value, interpreter.meter()));
  std::reverse(items.begin(), items.end());
  return MakeList(interpreter.meter(), std::move(items));
}

// What an item is compared by: its attributes, texts without their case unless that matters.
Result<std::vector<Value>> SortKey(Interpreter& interpreter, const Value& item,
                                   const Value& attribute, bool case_sensitive) {
  std::vector<Value> paths = {attribute};
  if (attribute.is_text() && attribute.text().find(',') != std::string_view::npos) {
    const Arguments comma{.positional = {Value::Literal(",")}, .named = {}};
    ETCH_ASSIGN_OR_RETURN(const Value parts, interpreter.CallNamed(attribute, "split", comma));
    paths = parts.list().items;
  }
  std::vector<Value> key;
  for (const Value& path : paths) {
    ETCH_ASSIGN_OR_RETURN(Value part, AttributePath(interpreter, item, path));
    if (part.is_text() && !case_sensitive) {
      ETCH_TRY(interpreter.meter().Read(part.text().size()));
      ETCH_ASSIGN_OR_RETURN(part, MakeText(interpreter.meter(), Lower(part.text())));
    }
    key.push_back(std::move(part));
  }
  return key;
}

struct Keyed {
  std::vector<Value> key;
  Value item;
};

Result<std::vector<Keyed>> WithKeys(Interpreter& interpreter, const std::vector<Value>& items,
                                    const Value& attribute, bool case_sensitive) {
  std::vector<Keyed> keyed;
  for (const Value& item : items) {
    ETCH_ASSIGN_OR_RETURN(std::vector<Value> key,
                          SortKey(interpreter, item, attribute, case_sensitive));
    keyed.push_back({std::move(key), item});
  }
  return keyed;
}

Result<bool> KeyLess(const std::vector<Value>& left, const std::vector<Value>& right,
                     Meter& meter) {
  for (size_t part = 0; part < left.size(); ++part) {
    ETCH_ASSIGN_OR_RETURN(const bool equal, Equal(left[part], right[part], meter));
    if (!equal) {
      ETCH_ASSIGN_OR_RETURN(const int order, Order(left[part], right[part], meter));
      return order < 0;
    }
  }
  return false;
}

Status SortKeyed(std::vector<Keyed>* items, bool reverse, Meter& meter) {
  Status status;  // the first error of a comparison; then the order does not matter
  std::stable_sort(items->begin(), items->end(), [&](const Keyed& left, const Keyed& right) {
    if (!status) {
      return false;
    }
    Result<bool> less =
        reverse ? KeyLess(right.key, left.key, meter) : KeyLess(left.key, right.key, meter);
    if (!less) {
      status = tl::unexpected(std::move(less).error());
      return false;
    }
    return *less;
  });
  return status;
}

Result<Value> ListOf(std::vector<Keyed> keyed, Meter& meter) {
  std::vector<Value> items;
  for (Keyed& each : keyed) {
    items.push_back(std::move(each.item));
  }
  return MakeList(meter, std::move(items));
}

Result<Value> Sort(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  ETCH_ASSIGN_OR_RETURN(const std::vector<Value> bound,
                        Bind("sort",
                             {{"reverse", Value::Bool(false)},
                              {"case_sensitive", Value::Bool(false)},
                              {"attribute", Value::None()}},
                             arguments));
  ETCH_ASSIGN_OR_RETURN(const std::vector<Value> items, Items(value, interpreter.meter()));
  ETCH_ASSIGN_OR_RETURN(std::vector<Keyed> keyed,
                        WithKeys(interpreter, items, bound[2], Truthy(bound[1])));
  ETCH_TRY(SortKeyed(&keyed, Truthy(bound[0]), interpreter.meter()));
  return ListOf(std::move(keyed), interpreter.meter());
}

Result<Value> DictSort(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  ETCH_ASSIGN_OR_RETURN(const std::vector<Value> bound,
                        Bind("dictsort",
                             {{"case_sensitive", Value::Bool(false)},
                              {"by", Value::Literal("key")},
                              {"reverse", Value::Bool(false)}},
                             arguments));
  ETCH_ASSIGN_OR_RETURN(const std::string_view by, WantText("dictsort", bound[1]));
  if (!value.is_dict() || (by != "key" && by != "value")) {
    return Fail(ErrorCode::kInvalidArgument, "dictsort wants a dict, and 'key' or 'value' as by");
  }
  ETCH_ASSIGN_OR_RETURN(const Value pairs, interpreter.CallNamed(value, "items", {}));
  ETCH_ASSIGN_OR_RETURN(
      std::vector<Keyed> keyed,
      WithKeys(interpreter, pairs.list().items, Value::Int(by == "key" ? 0 : 1), Truthy(bound[0])));
  ETCH_TRY(SortKeyed(&keyed, Truthy(bound[2]), interpreter.meter()));
  return ListOf(std::move(keyed), interpreter.meter());
}

// The smallest or the largest item; of equal ones the first.
template <bool kMax>
Result<Value> Extreme(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  ETCH_ASSIGN_OR_RETURN(
      const std::vector<Value> bound,
      Bind(kMax ? "max" : "min",
           {{"case_sensitive", Value::Bool(false)}, {"attribute", Value::None()}}, arguments));
  ETCH_ASSIGN_OR_RETURN(const std::vector<Value> items, Items(value, interpreter.meter()));
  if (items.empty()) {
    return Value::UndefinedBecause("the sequence is empty");
  }
  ETCH_ASSIGN_OR_RETURN(std::vector<Keyed> keyed,
                        WithKeys(interpreter, items, bound[1], Truthy(bound[0])));
  size_t best = 0;
  for (size_t index = 1; index < keyed.size(); ++index) {
    const std::vector<Value>& left = keyed[kMax ? best : index].key;
    const std::vector<Value>& right = keyed[kMax ? index : best].key;
    ETCH_ASSIGN_OR_RETURN(const bool better, KeyLess(left, right, interpreter.meter()));
    best = better ? index : best;
  }
  return std::move(keyed[best].item);
}

Result<Value> Unique(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  ETCH_ASSIGN_OR_RETURN(
      const std::vector<Value> bound,
      Bind("unique", {{"case_sensitive", Value::Bool(false)}, {"attribute", Value::None()}},
           arguments));
  ETCH_ASSIGN_OR_RETURN(const std::vector<Value> items, Items(value, interpreter.meter()));
  Dict seen;
  std::vector<Value> kept;
  for (const Value& item : items) {
    ETCH_TRY(interpreter.meter().Step());
    ETCH_ASSIGN_OR_RETURN(const std::vector<Value> key,
                          SortKey(interpreter, item, bound[1], Truthy(bound[0])));
    ETCH_ASSIGN_OR_RETURN(const Value* const found, seen.Find(key[0]));
    if (found == nullptr) {
      ETCH_TRY(seen.Set(key[0], Value::None()));
      kept.push_back(item);
    }
  }
  return MakeList(interpreter.meter(), std::move(kept));
}

Result<Value> GroupBy(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  ETCH_ASSIGN_OR_RETURN(const std::vector<Value> bound,
                        Bind("groupby", {{"attribute"}}, arguments));
  Meter& meter = interpreter.meter();
  ETCH_ASSIGN_OR_RETURN(const std::vector<Value> items, Items(value, meter));
  ETCH_ASSIGN_OR_RETURN(std::vector<Keyed> keyed, WithKeys(interpreter, items, bound[0], false));
  ETCH_TRY(SortKeyed(&keyed, false, meter));
  std::vector<Value> groups;
  for (size_t begin = 0; begin < keyed.size();) {
    std::vector<Value> members;
    size_t end = begin;
    for (; end < keyed.size(); ++end) {
      ETCH_ASSIGN_OR_RETURN(const bool less, KeyLess(keyed[begin].key, keyed[end].key, meter));
      if (less) {
        break;
      }
      members.push_back(keyed[end].item);
    }
    ETCH_ASSIGN_OR_RETURN(Value name, AttributePath(interpreter, keyed[begin].item, bound[0]));
    ETCH_ASSIGN_OR_RETURN(Value list, MakeList(meter, std::move(members)));
    ETCH_ASSIGN_OR_RETURN(Value pair, MakeList(meter, {std::move(name), std::move(list)}, true));
    groups.push_back(std::move(pair));
    begin = end;
  }
  return MakeList(meter, std::move(groups));
}

Result<Value> Sum(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  ETCH_ASSIGN_OR_RETURN(
      const std::vector<Value> bound,
      Bind("sum", {{"attribute", Value::None()}, {"start", Value::Int(0)}}, arguments));
  ETCH_ASSIGN_OR_RETURN(const std::vector<Value> items, Items(value, interpreter.meter()));
  Value sum = bound[1];
  for (const Value& item : items) {
    ETCH_TRY(interpreter.meter().Step());
    ETCH_ASSIGN_OR_RETURN(const Value part, AttributePath(interpreter, item, bound[0]));
    ETCH_ASSIGN_OR_RETURN(sum, Arithmetic(Operator::kAdd, sum, part, interpreter.meter()));
  }
  return sum;
}

Result<Value> Batch(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  ETCH_ASSIGN_OR_RETURN(const std::vector<Value> bound,
                        Bind("batch", {{"linecount"}, {"fill_with", Value::None()}}, arguments));
  ETCH_ASSIGN_OR_RETURN(const int64_t size, WantInt("batch", bound[0]));
  if (size < 1 || size > 100'000) {
    return Fail(ErrorCode::kInvalidArgument, "a batch has between 1 and 100000 items");
  }
  Meter& meter = interpreter.meter();
  ETCH_ASSIGN_OR_RETURN(const std::vector<Value> items, Items(value, meter));
  const size_t width = static_cast<size_t>(size);
  std::vector<Value> batches;
  for (size_t begin = 0; begin < items.size(); begin += width) {
    const size_t end = std::min(items.size(), begin + width);
    std::vector<Value> batch(items.begin() + static_cast<std::ptrdiff_t>(begin),
                             items.begin() + static_cast<std::ptrdiff_t>(end));
    if (!bound[1].is_none()) {
      batch.resize(width, bound[1]);
    }
    ETCH_ASSIGN_OR_RETURN(Value list, MakeList(meter, std::move(batch)));
    batches.push_back(std::move(list));
  }
  return MakeList(meter, std::move(batches));
}

constexpr FilterEntry kSequenceFilters[] = {
    {"list", ListFilter},    {"first", End<false>},  {"last", End<true>},
    {"reverse", Reverse},    {"sort", Sort},         {"dictsort", DictSort},
    {"min", Extreme<false>}, {"max", Extreme<true>}, {"unique", Unique},
    {"groupby", GroupBy},    {"sum", Sum},           {"batch", Batch}};

}  // namespace

FilterFunction FindSequenceFilter(std::string_view name) {
  return FindFilterIn(kSequenceFilters, name);
}

}  // namespace etch::jinja
