#include "tune/data/json_rows.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

namespace etch::tune::internal {
namespace {

using ::testing::HasSubstr;

using Visit = Status (*)(std::string_view, std::string_view, const RowVisitor&);

// Each row as "line:json", or the error.
std::string Rows(Visit visit, std::string_view text) {
  std::string rows;
  const Status status = visit("a", text, [&](int64_t line, const Json& row) {
    rows += std::to_string(line) + ":" + row.dump() + ";";
    return Status();
  });
  return status ? rows : "error: " + status.error().message;
}

TEST(JsonLines, AreRowsByLine) {
  EXPECT_EQ(Rows(VisitJsonLines, "{\"a\":1}\n\n  \r\n[2]\r\n3"), "1:{\"a\":1};4:[2];5:3;");
}

TEST(JsonLines, ErrorsNameTheLine) {
  EXPECT_THAT(Rows(VisitJsonLines, "{}\n{\"a\" 1}\n{}"), HasSubstr("error: a:2: not JSON: "));
  EXPECT_THAT(Rows(VisitJsonLines, "{}\n{\"a\": \"x\n{}"), HasSubstr("a:2: not JSON: "));
  EXPECT_THAT(Rows(VisitJsonLines, "{} {}\n"), HasSubstr("a:1: not JSON: "));
}

TEST(Json, ArraysAreRowsWithTheirLines) {
  EXPECT_EQ(Rows(VisitJson, "[\n{\"a\": \"]},[\\\"\"},\n {\"b\":\n[1,{}]}\n]\n"),
            "2:{\"a\":\"]},[\\\"\"};3:{\"b\":[1,{}]};");
  EXPECT_EQ(Rows(VisitJson, "[1, \"x\" ,null]"), "1:1;1:\"x\";1:null;");
  EXPECT_EQ(Rows(VisitJson, " [ ] "), "");
}

TEST(Json, AnObjectMayHoldTheArray) {
  EXPECT_EQ(Rows(VisitJson, "{\"version\": [1],\n\"data\": [\n{\"a\":1}\n], \"n\": {}}"),
            "3:{\"a\":1};");
  EXPECT_THAT(Rows(VisitJson, R"({"a": [{}], "b": [{}]})"), HasSubstr("2 arrays of objects"));
}

TEST(Json, AnObjectMayBeTheRow) {
  EXPECT_EQ(Rows(VisitJson, "\n{\"prompt\": \"x\"}"), "2:{\"prompt\":\"x\"};");
  EXPECT_EQ(Rows(VisitJson, R"({"messages": [{"a": 1}]})"), R"(1:{"messages":[{"a":1}]};)");
  EXPECT_EQ(Rows(VisitJson, "{\n\"a\": 1\n}\n{\n\"a\": 2\n}"), "1:{\"a\":1};4:{\"a\":2};");
}

TEST(Json, ErrorsNameTheLine) {
  EXPECT_THAT(Rows(VisitJson, "[\n{},\n{\n\"a\": x}\n]"), HasSubstr("error: a:4: not JSON: "));
  EXPECT_THAT(Rows(VisitJson, "[\n{}\n{}]"), HasSubstr("a:3: not JSON: a comma or ] is missing"));
  EXPECT_THAT(Rows(VisitJson, "[\n{},\n"), HasSubstr("a:3: not JSON: "));
  EXPECT_THAT(Rows(VisitJson, "[\n{}\n"), HasSubstr("the file ends inside its array"));
  EXPECT_THAT(Rows(VisitJson, "[\n{}\n] x"), HasSubstr("a:3: not JSON: more text behind"));
  EXPECT_THAT(Rows(VisitJson, "]"), HasSubstr("a:1: not JSON: "));
  EXPECT_THAT(Rows(VisitJson, "{}\n,"), HasSubstr("a:2: not JSON: "));
}

TEST(Json, NestsOnlySoDeep) {
  const std::string deep = fmt::format("{:[>65}{:]>65}", "", "");
  EXPECT_THAT(Rows(VisitJsonLines, deep), HasSubstr("a:1: a row nests deeper than 64"));
  EXPECT_THAT(Rows(VisitJsonLines, std::string(100000, '[')), HasSubstr("nests deeper"));
  const std::string flat = fmt::format("\"{:[>100}\"", "");
  EXPECT_EQ(Rows(VisitJsonLines, flat), "1:" + flat + ";");
}

TEST(Json, ComplaintsAreShort) {
  const std::string rows = Rows(VisitJsonLines, fmt::format("{{\"a\": \"{:x>5000}\n", ""));
  EXPECT_THAT(rows, HasSubstr("a:1: not JSON: "));
  EXPECT_LT(rows.size(), 300U);
}

TEST(Json, SaysWhetherTextIsAnObject) {
  EXPECT_TRUE(IsJsonObject("{\"a\": 1}\r"));
  EXPECT_FALSE(IsJsonObject("{\"a\": 1"));
  EXPECT_FALSE(IsJsonObject("[]"));
  EXPECT_TRUE(ParseOrNull("nonsense").is_null());
  EXPECT_EQ(ParseOrNull("[1]").dump(), "[1]");
}

}  // namespace
}  // namespace etch::tune::internal
