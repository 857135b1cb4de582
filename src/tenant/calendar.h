#pragma once

// Days and months of bills and limits, all in UTC.

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"

namespace etch::tenant {

int64_t UnixTime();  // seconds, now

// 202611 for any second of November 2026.
int64_t MonthOf(int64_t unix_time);
// The first second of the next month.
int64_t NextMonth(int64_t unix_time);

// "2026-11" or "2026-11-26", the first second of it. kInvalidArgument for anything else.
Result<int64_t> ParseDate(std::string_view text);
// The first second after the month or day that `text` names.
Result<int64_t> ParseDateEnd(std::string_view text);

std::string FormatMonth(int64_t month);     // 202611 → "2026-11"
std::string FormatTime(int64_t unix_time);  // "2026-11-26T12:00:00Z"

}  // namespace etch::tenant
