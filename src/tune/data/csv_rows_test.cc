#include "tune/data/csv_rows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

namespace etch::tune::internal {
namespace {

using ::testing::HasSubstr;

// Each row as "line:json", or the error.
std::string Rows(std::string_view text, char separator = ',') {
  std::string rows;
  const Status status = VisitCsv("a.csv", text, separator, [&](int64_t line, const Json& row) {
    rows += std::to_string(line) + ":" + row.dump() + ";";
    return Status();
  });
  return status ? rows : "error: " + status.error().message;
}

TEST(CsvRows, AreNamedByTheHeader) {
  EXPECT_EQ(Rows("a,b\n1,2\n"), R"(2:{"a":"1","b":"2"};)");
  EXPECT_EQ(Rows("a,b\r\n1,2\r\n3,4"), R"(2:{"a":"1","b":"2"};3:{"a":"3","b":"4"};)");
  EXPECT_EQ(Rows("a\tb\n1,5\t2\n", '\t'), R"(2:{"a":"1,5","b":"2"};)");
  EXPECT_EQ(Rows("a,b\n"), "");
}

TEST(CsvRows, QuotesHoldAnything) {
  EXPECT_EQ(Rows("a,b\n\"x, \"\"y\"\"\nz\",2\n3,4\n"),
            R"(2:{"a":"x, \"y\"\nz","b":"2"};4:{"a":"3","b":"4"};)");
  EXPECT_EQ(Rows("\"a,1\",b\n\"\",\n"), R"(2:{"a,1":"","b":""};)");
  EXPECT_EQ(Rows("a,b\nsay \"hi\",2\n"), R"(2:{"a":"say \"hi\"","b":"2"};)");
  EXPECT_EQ(Rows("a,b\n\"1\",\"2\"\r\n\"3\",4"), R"(2:{"a":"1","b":"2"};3:{"a":"3","b":"4"};)");
}

TEST(CsvRows, BlankLinesArePassedOver) {
  EXPECT_EQ(Rows("a,b\n\n1,2\n\r\n\n"), R"(3:{"a":"1","b":"2"};)");
}

TEST(CsvRows, ErrorsNameTheLine) {
  EXPECT_EQ(Rows("a,b\n1,2\n1,2,3\n"), "error: a.csv:3: 3 fields, and the header has 2");
  EXPECT_EQ(Rows("a,b\n1\n"), "error: a.csv:2: 1 fields, and the header has 2");
  EXPECT_EQ(Rows("a,b\n\"x\n\n"), "error: a.csv:2: a quoted field is never closed");
  EXPECT_THAT(Rows("a,b\n\"x\ny\"z,2\n"), HasSubstr("a.csv:3: text behind a closing quote"));
  EXPECT_THAT(Rows("a,,b\n"), HasSubstr("a.csv:1: the header has a column without a name"));
  EXPECT_THAT(Rows("a,a\n"), HasSubstr("a.csv:1: the header has two columns \"a\""));
  std::string wide = "c0";
  for (int column = 1; column < 300; ++column) {
    wide += ",c" + std::to_string(column);
  }
  EXPECT_THAT(Rows(wide), HasSubstr("a.csv:1: 300 columns"));
}

}  // namespace
}  // namespace etch::tune::internal
