// The text is compared with its bounds while it is read, as one would do it by hand: a whole part
// of fewer digits is smaller, one of as many is compared from the left, then the fraction. Of a
// bound only the digits matter, so the states are few. Being a multiple of m / 10^p is a remainder
// modulo m, carried through p digits of the fraction, with nothing but zeros behind.

#include "grammar/number.h"

#include <algorithm>
#include <array>

#include "grammar/regex.h"

namespace etch::grammar {
namespace {

constexpr int64_t kMaxDigits = 400;
constexpr int64_t kMaxDivisor = 1'000'000;

// A bound on the magnitude.
struct Bound {
  Decimal value;
  bool open = false;
};

// What is known of a number that is being read. Small integers; ordered for the map of states.
struct Place {
  enum Phase : int { kStart, kMinus, kZero, kWhole, kPoint, kFraction };

  int phase = kStart;
  int negative = 0;
  int digits = 0;                     // of the whole part, up to the longest bound's and one more
  int decimals = 0;                   // of the fraction, up to what matters
  std::array<int, 2> order = {0, 0};  // against the low and the high bound: -1, 0, 1
  int remainder = 0;

  auto operator<=>(const Place&) const = default;
};

class Reader {
 public:
  static Result<Reader> Create(const NumberBounds& bounds) {
    Reader reader;
    reader.integer_ = bounds.integer;
    for (const bool negative : {false, true}) {
      std::array<std::optional<Bound>, 2>& limits = reader.limits_[negative ? 1 : 0];
      // Magnitudes of negative numbers: the bounds change places.
      const auto& low = negative ? bounds.high : bounds.low;
      const auto& high = negative ? bounds.low : bounds.high;
      const bool low_open = negative ? bounds.high_open : bounds.low_open;
      const bool high_open = negative ? bounds.low_open : bounds.high_open;
      if (low && (low->is_zero() || low->negative == negative)) {
        limits[0] = Bound{*low, low_open};
      }
      if (high) {
        if (!high->is_zero() && high->negative != negative) {
          reader.possible_[negative ? 1 : 0] = false;
        }
        limits[1] = Bound{*high, high_open};
      }
      for (const auto& limit : limits) {
        if (limit) {
          reader.digits_ = std::max(reader.digits_, static_cast<int>(limit->value.whole.size()));
          reader.decimals_ =
              std::max(reader.decimals_, static_cast<int>(limit->value.fraction.size()));
        }
      }
    }
    if (bounds.multiple_of) {
      ETCH_TRY(reader.SetDivisor(*bounds.multiple_of));
    }
    return reader;
  }

  std::optional<Place> Step(Place place, uint8_t byte) const {
    const bool is_digit = byte >= '0' && byte <= '9';
    const int digit = byte - '0';
    switch (place.phase) {
      case Place::kStart:
        if (byte == '-') {
          place.phase = Place::kMinus;
          place.negative = 1;
          return possible_[1] ? std::optional(place) : std::nullopt;
        }
        return is_digit && possible_[0] ? FirstDigit(place, digit) : std::nullopt;
      case Place::kMinus:
        return is_digit ? FirstDigit(place, digit) : std::nullopt;
      case Place::kZero:
      case Place::kWhole:
        if (byte == '.') {
          place.order = {OrderOfWhole(place, 0), OrderOfWhole(place, 1)};
          place.digits = 0;
          place.phase = Place::kPoint;
          return place;
        }
        return is_digit && place.phase == Place::kWhole ? WholeDigit(place, digit) : std::nullopt;
      default:
        return is_digit ? FractionDigit(place, digit) : std::nullopt;
    }
  }

  bool Accepts(const Place& place) const {
    if (place.phase == Place::kStart || place.phase == Place::kMinus ||
        place.phase == Place::kPoint) {
      return false;
    }
    if (divisor_ > 0) {
      int64_t remainder = place.remainder;
      for (int decimal = place.decimals; decimal < scale_; ++decimal) {
        remainder = remainder * 10 % divisor_;
      }
      if (remainder != 0) {
        return false;
      }
    }
    const bool has_fraction = place.phase == Place::kFraction;
    for (const size_t side : {size_t{0}, size_t{1}}) {
      const auto& limit = Limit(place, side);
      if (limit) {
        int order = has_fraction ? place.order[side] : OrderOfWhole(place, side);
        const int read = has_fraction ? place.decimals : 0;
        if (order == 0 && read < static_cast<int>(limit->value.fraction.size())) {
          order = -1;
        }
        const int wrong = side == 0 ? -1 : 1;
        if (order == wrong || (order == 0 && limit->open)) {
          return false;
        }
      }
    }
    return true;
  }

 private:
  Status SetDivisor(const Decimal& multiple) {
    const std::string digits = multiple.whole + multiple.fraction;
    const int64_t value = digits.size() > 18 ? kMaxDivisor + 1 : std::stoll(digits);
    if (multiple.negative || value == 0) {
      return Fail(ErrorCode::kMalformed, "\"multipleOf\" is not above zero");
    }
    if (value > kMaxDivisor) {
      return Fail(ErrorCode::kUnsupported,
                  "\"multipleOf\" with more than 6 digits is not supported");
    }
    divisor_ = value;
    scale_ = static_cast<int>(multiple.fraction.size());
    decimals_ = std::max(decimals_, scale_);
    return {};
  }

  const std::optional<Bound>& Limit(const Place& place, size_t side) const {
    return limits_[static_cast<size_t>(place.negative)][side];
  }

  std::optional<Place> FirstDigit(Place place, int digit) const {
    place.phase = digit == 0 ? Place::kZero : Place::kWhole;
    return WholeDigit(place, digit);
  }

  std::optional<Place> WholeDigit(Place place, int digit) const {
    for (const size_t side : {size_t{0}, size_t{1}}) {
      const auto& limit = Limit(place, side);
      if (limit && place.order[side] == 0 &&
          place.digits < static_cast<int>(limit->value.whole.size())) {
        const int other = limit->value.whole[static_cast<size_t>(place.digits)] - '0';
        place.order[side] = digit < other ? -1 : digit > other ? 1 : 0;
      }
    }
    place.digits = std::min(place.digits + 1, digits_ + 1);
    Carry(place, digit);
    return place;
  }

  std::optional<Place> FractionDigit(Place place, int digit) const {
    place.phase = Place::kFraction;
    if (digit != 0 && (integer_ || (divisor_ > 0 && place.decimals >= scale_))) {
      return std::nullopt;
    }
    for (const size_t side : {size_t{0}, size_t{1}}) {
      const auto& limit = Limit(place, side);
      if (limit && place.order[side] == 0) {
        const std::string& fraction = limit->value.fraction;
        const bool within = place.decimals < static_cast<int>(fraction.size());
        const int other = within ? fraction[static_cast<size_t>(place.decimals)] - '0' : 0;
        place.order[side] = digit < other ? -1 : digit > other ? 1 : 0;
      }
    }
    if (place.decimals < scale_) {
      Carry(place, digit);
    }
    place.decimals = std::min(place.decimals + 1, decimals_);
    return place;
  }

  void Carry(Place& place, int digit) const {
    if (divisor_ > 0) {
      place.remainder = static_cast<int>((int64_t{place.remainder} * 10 + digit) % divisor_);
    }
  }

  // The order of the whole part, once all of it was read.
  int OrderOfWhole(const Place& place, size_t side) const {
    const auto& limit = Limit(place, side);
    if (!limit) {
      return 0;
    }
    const auto wanted = static_cast<int>(limit->value.whole.size());
    return place.digits < wanted ? -1 : place.digits > wanted ? 1 : place.order[side];
  }

  bool integer_ = false;
  std::array<bool, 2> possible_ = {true, true};                // by sign
  std::array<std::array<std::optional<Bound>, 2>, 2> limits_;  // by sign, low and high
  int digits_ = 0;
  int decimals_ = 0;
  int64_t divisor_ = 0;
  int scale_ = 0;
};

ByteClasses DigitClasses() {
  std::bitset<257> cuts;
  for (const char byte : std::string_view("-./0123456789:")) {
    cuts.set(static_cast<size_t>(byte));
  }
  return ByteClasses::FromCuts(cuts);
}

}  // namespace

Result<Decimal> ParseDecimal(std::string_view text) {
  Decimal decimal;
  size_t at = 0;
  const auto take_digits = [&](std::string& out) {
    while (at < text.size() && text[at] >= '0' && text[at] <= '9') {
      out += text[at++];
    }
  };
  const bool negative = text.starts_with('-');
  at += negative ? 1 : 0;
  std::string whole;
  std::string fraction;
  take_digits(whole);
  if (at < text.size() && text[at] == '.') {
    ++at;
    take_digits(fraction);
  }
  int64_t exponent = 0;
  if (at < text.size() && (text[at] | 0x20) == 'e') {
    ++at;
    const bool down = at < text.size() && text[at] == '-';
    at += at < text.size() && (text[at] == '-' || text[at] == '+') ? 1 : 0;
    std::string digits;
    take_digits(digits);
    for (const char digit : digits) {
      exponent = std::min<int64_t>(exponent * 10 + (digit - '0'), 2 * kMaxDigits);
    }
    exponent = down ? -exponent : exponent;
  }
  if (std::ssize(whole) + std::ssize(fraction) + std::abs(exponent) > kMaxDigits) {
    return Fail(ErrorCode::kUnsupported, "a number with more than {} digits is not supported",
                kMaxDigits);
  }
  for (; exponent > 0; --exponent) {
    whole += fraction.empty() ? '0' : fraction.front();
    fraction.erase(0, fraction.empty() ? 0 : 1);
  }
  for (; exponent < 0; ++exponent) {
    fraction.insert(fraction.begin(), whole.empty() ? '0' : whole.back());
    whole.erase(whole.size() - (whole.empty() ? 0 : 1));
  }
  whole.erase(0, std::min(whole.find_first_not_of('0'), whole.size()));
  fraction.erase(fraction.find_last_not_of('0') + 1);
  decimal.whole = whole.empty() ? "0" : whole;
  decimal.fraction = fraction;
  decimal.negative = negative && !decimal.is_zero();
  return decimal;
}

Result<Dfa> NumberDfa(const NumberBounds& bounds, Budget& budget) {
  if (!bounds.integer && !bounds.low && !bounds.high && !bounds.multiple_of) {
    ETCH_ASSIGN_OR_RETURN(
        const Expression number,
        ParseRegex(R"(-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+\-]?[0-9]+)?)", budget.limits()));
    return ToDfa(number, budget);
  }
  ETCH_ASSIGN_OR_RETURN(const Reader reader, Reader::Create(bounds));
  return Explore(
      Place(), DigitClasses(),
      [&](const Place& place, uint8_t byte) { return reader.Step(place, byte); },
      [&](const Place& place) { return reader.Accepts(place) ? 1U : 0U; }, budget);
}

}  // namespace etch::grammar
