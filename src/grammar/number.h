#pragma once

// JSON numbers within bounds as automata over their text.

#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "grammar/dfa.h"

namespace etch::grammar {

// A decimal number, exactly: -? whole . fraction. No leading zeros but in "0", no trailing ones.
struct Decimal {
  bool negative = false;  // never of zero
  std::string whole = "0";
  std::string fraction;

  bool is_zero() const { return whole == "0" && fraction.empty(); }
};

// `text` is a JSON number. kUnsupported when it has more than 400 digits written out.
Result<Decimal> ParseDecimal(std::string_view text);

struct NumberBounds {
  bool integer = false;  // the value is whole; 1.0 is
  std::optional<Decimal> low;
  bool low_open = false;  // low itself is outside
  std::optional<Decimal> high;
  bool high_open = false;
  std::optional<Decimal> multiple_of;  // above zero
};

// The texts of JSON numbers whose value is in bounds. Without bounds, every number; with any, those
// without an exponent. kUnsupported for a multiple_of with more than 6 digits.
Result<Dfa> NumberDfa(const NumberBounds& bounds, Budget& budget);

}  // namespace etch::grammar
