#include "tenant/calendar.h"

#include <algorithm>
#include <chrono>

namespace etch::tenant {
namespace {

using std::chrono::days;
using std::chrono::floor;
using std::chrono::months;
using std::chrono::seconds;
using std::chrono::sys_days;
using std::chrono::sys_seconds;
using std::chrono::year_month_day;

year_month_day DateOf(int64_t unix_time) {
  return year_month_day(floor<days>(sys_seconds(seconds(unix_time))));
}

int64_t FirstSecond(year_month_day date) {
  return sys_seconds(sys_days(date)).time_since_epoch().count();
}

struct ParsedDate {
  year_month_day date;
  bool has_day = false;
};

Result<ParsedDate> Parse(std::string_view text) {
  const bool has_day = text.size() == 10;
  const std::string_view shape = has_day ? "dddd-dd-dd" : "dddd-dd";
  const auto fits = [](char character, char wanted) {
    return wanted == 'd' ? character >= '0' && character <= '9' : character == wanted;
  };
  const auto number = [&](size_t at, size_t size) {
    unsigned value = 0;
    for (const char digit : text.substr(at, size)) {
      value = value * 10 + static_cast<unsigned>(digit - '0');
    }
    return value;
  };
  if (text.size() == shape.size() && std::ranges::equal(text, shape, fits)) {
    const year_month_day date(std::chrono::year(static_cast<int>(number(0, 4))),
                              std::chrono::month(number(5, 2)),
                              std::chrono::day(has_day ? number(8, 2) : 1));
    if (date.ok() && date.year() >= std::chrono::year(1970)) {
      return ParsedDate{date, has_day};
    }
  }
  return Fail(ErrorCode::kInvalidArgument, "\"{}\" is no date: 2026-11 or 2026-11-26", text);
}

}  // namespace

int64_t UnixTime() {
  return std::chrono::duration_cast<seconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

int64_t MonthOf(int64_t unix_time) {
  const year_month_day date = DateOf(unix_time);
  return int64_t{static_cast<int>(date.year())} * 100 + static_cast<unsigned>(date.month());
}

int64_t NextMonth(int64_t unix_time) {
  const year_month_day date = DateOf(unix_time);
  return FirstSecond(year_month_day(date.year(), date.month(), std::chrono::day(1)) + months(1));
}

Result<int64_t> ParseDate(std::string_view text) {
  ETCH_ASSIGN_OR_RETURN(const ParsedDate parsed, Parse(text));
  return FirstSecond(parsed.date);
}

Result<int64_t> ParseDateEnd(std::string_view text) {
  ETCH_ASSIGN_OR_RETURN(const ParsedDate parsed, Parse(text));
  constexpr int64_t kDay = 24 * 60 * 60;
  return parsed.has_day ? FirstSecond(parsed.date) + kDay : NextMonth(FirstSecond(parsed.date));
}

std::string FormatMonth(int64_t month) {
  return fmt::format("{:04}-{:02}", month / 100, month % 100);
}

std::string FormatTime(int64_t unix_time) {
  const year_month_day date = DateOf(unix_time);
  const int64_t second = unix_time - FirstSecond(date);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                     second / 3600, second / 60 % 60, second % 60);
}

}  // namespace etch::tenant
