#pragma once

// The numbers that the silicon model computes with: each has a unit, a range and a source, and is
// read from a file (data/tech, data/chip). Nothing in the model is a number without one.

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace etch::chip {

struct Quantity {
  std::string name;
  std::string unit;
  double value = 0.0;
  double low = 0.0;   // low <= value <= high
  double high = 0.0;
  std::string source;
  bool assumed = false;  // an engineering guess, not a published or measured figure
};

// A quantity that a file must have: its name, unit, and what it may lie between.
struct QuantitySpec {
  std::string_view name;
  std::string_view unit;
  double least = 0.0;
  double most = 1e18;
};

// The values that one evaluation of the model uses, by name.
using Values = std::map<std::string, double, std::less<>>;

// Reads {"values": {NAME: {value, low, high, unit, source, assumed}}}. Every spec must be there and
// nothing else. kMalformed naming `origin` and the field.
Result<std::vector<Quantity>> ParseQuantities(std::string_view json, std::string_view origin,
                                              std::span<const QuantitySpec> specs);

}  // namespace etch::chip
