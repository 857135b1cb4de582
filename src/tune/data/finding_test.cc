#include "tune/data/finding.h"

#include <gtest/gtest.h>

namespace etch::tune {
namespace {

TEST(Finding, IsOneSentenceWithItsLines) {
  Tally tally;
  for (int64_t line = 1; line <= 7; ++line) {
    tally.Add(line * 10);
  }
  std::vector<Finding> findings;
  tally.Report(Severity::kWarning, "odd", "{} of an odd kind", findings);
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(Describe(findings[0]),
            "warning: odd: 7 rows of an odd kind (lines 10, 20, 30, 40, 50 …)");
  EXPECT_EQ(Describe({Severity::kError, "one", 1, {3}, "bad"}), "error: one: bad (line 3)");
  EXPECT_EQ(Describe({Severity::kNote, "all", 9, {}, "so be it"}), "note: all: so be it");
}

TEST(Finding, IsNoneWithoutARow) {
  std::vector<Finding> findings;
  Tally().Report(Severity::kError, "never", "{}", findings);
  EXPECT_TRUE(findings.empty());
}

TEST(Finding, ErrorsComeFirst) {
  std::vector<Finding> findings = {{Severity::kNote, "a", 1, {}, ""},
                                   {Severity::kWarning, "b", 1, {}, ""},
                                   {Severity::kWarning, "c", 1, {}, ""}};
  EXPECT_FALSE(HasErrors(findings));
  findings.push_back({Severity::kError, "d", 1, {}, ""});
  EXPECT_TRUE(HasErrors(findings));
  SortFindings(findings);
  std::string order;
  for (const Finding& finding : findings) {
    order += finding.code;
  }
  EXPECT_EQ(order, "dbca");
}

TEST(Counted, GroupsDigitsByThree) {
  EXPECT_EQ(Counted(0, "row"), "0 rows");
  EXPECT_EQ(Counted(1, "row"), "1 row");
  EXPECT_EQ(Counted(999, "row"), "999 rows");
  EXPECT_EQ(Counted(1000, "row"), "1,000 rows");
  EXPECT_EQ(Counted(1234567, "row"), "1,234,567 rows");
}

}  // namespace
}  // namespace etch::tune
