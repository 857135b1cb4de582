#pragma once

// value | name(arguments): Jinja's filters, with tojson as transformers defines it and from_json,
// which some published templates use. Filters that yield generators in Python give lists here.

#include <string_view>

#include "text/jinja/interpreter.h"

namespace etch::jinja {

// kUnsupported for a name that is none.
Result<Value> ApplyFilter(Interpreter& interpreter, std::string_view name, const Value& value,
                          const Arguments& arguments);
bool IsFilter(std::string_view name);

// The tables behind them; null when the name is not in the table.
using FilterFunction = Result<Value> (*)(Interpreter& interpreter, const Value& value,
                                         const Arguments& arguments);
FilterFunction FindTextFilter(std::string_view name);
FilterFunction FindSequenceFilter(std::string_view name);
FilterFunction FindSelectFilter(std::string_view name);
FilterFunction FindScalarFilter(std::string_view name);

// item.a.b.0, for filters with an attribute. An absent `path` gives the item.
Result<Value> AttributePath(Interpreter& interpreter, const Value& item, const Value& path);

struct FilterEntry {
  std::string_view name;
  FilterFunction function;
};

template <class Table>
FilterFunction FindFilterIn(const Table& table, std::string_view name) {
  for (const FilterEntry& entry : table) {
    if (entry.name == name) {
      return entry.function;
    }
  }
  return nullptr;
}

}  // namespace etch::jinja
