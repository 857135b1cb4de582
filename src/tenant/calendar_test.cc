#include "tenant/calendar.h"

#include <gtest/gtest.h>

namespace etch::tenant {
namespace {

constexpr int64_t kDay = 86400;
constexpr int64_t kEndOf2026 = 1798761600;  // date -u -d 2027-01-01 +%s

TEST(Calendar, MonthsBeginAndEndInUtc) {
  EXPECT_EQ(MonthOf(0), 197001);
  EXPECT_EQ(MonthOf(kEndOf2026 - 1), 202612);
  EXPECT_EQ(MonthOf(kEndOf2026), 202701);
  EXPECT_EQ(NextMonth(kEndOf2026 - 1), kEndOf2026);
  EXPECT_EQ(NextMonth(kEndOf2026), kEndOf2026 + 31 * kDay);
  EXPECT_EQ(NextMonth(1707091200), 1709251200);  // February of a leap year: 2024-02-05, 2024-03-01
}

TEST(Calendar, DatesAreReadAndWritten) {
  EXPECT_EQ(*ParseDate("1970-01-02"), kDay);
  EXPECT_EQ(*ParseDate("2027-01"), kEndOf2026);
  EXPECT_EQ(*ParseDateEnd("2026-12"), kEndOf2026);
  EXPECT_EQ(*ParseDateEnd("2026-12-31"), kEndOf2026);
  EXPECT_EQ(FormatTime(kEndOf2026 - 1), "2026-12-31T23:59:59Z");
  EXPECT_EQ(FormatMonth(202601), "2026-01");
}

TEST(Calendar, WhatIsNoDateIsRefused) {
  for (const char* text : {"", "2026", "2026-13", "2026-00", "2026-02-30", "2026-1-1", "26-01-01",
                           "2026-01-01 ", "2026/01/01", "1969-12-31", "2026-01-"}) {
    const auto date = ParseDate(text);
    ASSERT_FALSE(date) << text;
    EXPECT_NE(date.error().message.find("no date"), std::string::npos);
    EXPECT_FALSE(ParseDateEnd(text)) << text;
  }
}

}  // namespace
}  // namespace etch::tenant
