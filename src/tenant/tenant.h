#pragma once

// What a tenant is: a customer with keys, adapters that it may name, limits, and prices. Data only.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace etch::tenant {

// 0 in a field: no limit.
struct Limits {
  int64_t requests_per_minute = 0;
  int64_t tokens_per_minute = 0;  // prompt and completion
  int64_t tokens_per_month = 0;   // calendar months, UTC
  int64_t concurrent = 0;         // requests under way at once
  int64_t context = 0;            // tokens of a prompt and its answer

  bool operator==(const Limits&) const = default;
};

// Millionths of the operator's currency unit for a million tokens. Integers, so that a bill is the
// same sum wherever it is made.
struct Prices {
  int64_t prompt_micros = 0;
  int64_t completion_micros = 0;

  bool operator==(const Prices&) const = default;
};

struct Tenant {
  int64_t id = 0;                     // of the store; 0: not stored yet
  std::string name;                   // unique, see ValidateTenant
  bool all_adapters = false;          // whichever the server has, now and later
  std::vector<std::string> adapters;  // sorted; what it may name beside, or instead of, the base
  bool base = true;                   // whether it may name the base
  Limits limits;
  Prices prices;
  int64_t created = 0;  // Unix seconds
  int64_t revoked = 0;  // Unix seconds; 0: not

  bool operator==(const Tenant&) const = default;

  bool MayUseAdapter(std::string_view adapter) const;
};

// One key, without its secret.
struct Key {
  int64_t tenant_id = 0;
  std::string prefix;  // of the key, see api_key.h
  std::string digest;  // 32 bytes
  bool admin = false;  // may use the routes of the operator
  int64_t created = 0;
  int64_t revoked = 0;  // from this time on it is refused; 0: not

  bool ValidAt(int64_t unix_time) const { return revoked == 0 || unix_time < revoked; }
};

inline constexpr size_t kMaxNameLength = 64;
inline constexpr size_t kMaxAdapterNameLength = 255;
inline constexpr size_t kMaxAdapters = 4096;
inline constexpr int64_t kMaxLimit = int64_t{1} << 53;
inline constexpr int64_t kMaxPriceMicros = 1'000'000'000'000;  // a million units

// kInvalidArgument naming the field: names are 1 to 64 letters, digits, dots, dashes and underlines
// (they become labels of metrics and fields of CSV), limits and prices are not negative.
Status ValidateTenant(const Tenant& tenant);

// "2.50", "0.075": to millionths and back. kInvalidArgument for anything but digits with at most
// six behind a point.
Result<int64_t> ParseMicros(std::string_view text);
std::string FormatMicros(int64_t micros);

}  // namespace etch::tenant
