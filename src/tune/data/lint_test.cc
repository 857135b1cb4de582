#include "tune/data/lint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "support/data.h"
#include "tune/data/byte_tokenizer_test.h"

namespace etch::tune {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Turns = std::vector<text::ChatMessage>;

// Rows on lines 1, 2, …
Dataset Chats(const std::vector<Turns>& rows) {
  Dataset dataset;
  dataset.schema = Schema::kMessages;
  for (const Turns& turns : rows) {
    dataset.examples.push_back({turns, "", std::ssize(dataset.examples) + 1});
  }
  return dataset;
}

Turns Pair(const std::string& prompt, const std::string& answer) {
  return {{"user", prompt}, {"assistant", answer}};
}

// The finding `code`; an empty one when there is none.
Finding FindingOf(const std::vector<Finding>& findings, std::string_view code) {
  const auto found = std::ranges::find(findings, code, &Finding::code);
  return found == findings.end() ? Finding() : *found;
}

std::vector<int64_t> LinesOf(const std::vector<Turns>& rows, std::string_view code) {
  return FindingOf(LintDataset(Chats(rows), ByteTokenizer().get()), code).lines;
}

TEST(Lint, HasNothingToSayOfCleanRows) {
  std::vector<Turns> rows;
  for (int row = 0; row < 20; ++row) {
    rows.push_back(Pair("Question " + std::to_string(row), "An answer: é, 3.5 {x} <b>"));
  }
  rows.push_back(
      {{"system", "S"}, {"user", "A"}, {"assistant", "f()"}, {"tool", "1"}, {"assistant", "B"}});
  for (const Finding& finding : LintDataset(Chats(rows), ByteTokenizer().get())) {
    ADD_FAILURE() << Describe(finding);
  }
}

TEST(Lint, EmptyTurns) {
  EXPECT_THAT(LinesOf({Pair("a", " \n"), Pair("b", "c"), Pair("", "d")}, "empty-turn"),
              ElementsAre(1, 3));
}

TEST(Lint, RolesOutOfOrder) {
  EXPECT_THAT(LinesOf({Pair("a", "b"),
                       {{"user", "a"}, {"user", "b"}, {"assistant", "c"}},
                       {{"assistant", "a"}, {"user", "b"}},
                       {{"user", "a"}, {"assistant", "b"}, {"assistant", "c"}},
                       {{"user", "a"}, {"system", "b"}, {"assistant", "c"}},
                       {{"system", "a"}, {"assistant", "c"}}},
                      "roles-out-of-order"),
              ElementsAre(2, 3, 4, 5, 6));
}

TEST(Lint, EndsWithoutAnswer) {
  EXPECT_THAT(LinesOf({Pair("a", "b"), {{"user", "c"}, {"assistant", "d"}, {"user", "e"}}},
                      "ends-without-answer"),
              ElementsAre(2));
}

TEST(Lint, Duplicates) {
  const std::vector<Turns> rows = {Pair("What is it?", "A cat."), Pair("What is it?", "A cat."),
                                   Pair("what is  it", "a cat!"), Pair("What is it?", "A dog."),
                                   Pair("What was it?", "A cat.")};
  EXPECT_THAT(LinesOf(rows, "exact-duplicate"), ElementsAre(2));
  EXPECT_THAT(LinesOf(rows, "near-duplicate"), ElementsAre(3));
  EXPECT_THAT(LinesOf(rows, "conflicting-answers"), ElementsAre(4));
}

TEST(Lint, DuplicateTexts) {
  Dataset dataset;
  for (const char* text : {"One text", "one  text", "One text", "Another"}) {
    dataset.examples.push_back({{}, text, std::ssize(dataset.examples) + 1});
  }
  const std::vector<Finding> findings = LintDataset(dataset, nullptr);
  EXPECT_THAT(FindingOf(findings, "exact-duplicate").lines, ElementsAre(3));
  EXPECT_THAT(FindingOf(findings, "near-duplicate").lines, ElementsAre(2));
  EXPECT_EQ(FindingOf(findings, "conflicting-answers").count, 0);
}

TEST(Lint, Placeholders) {
  const Finding finding =
      FindingOf(LintDataset(Chats({Pair("{{ a }}}", "I am {{name}} by {{author}}"),
                                   Pair("a {{ b", "{{}} {{ }} {{1+1}} }}")}),
                            nullptr),
                "placeholder");
  EXPECT_THAT(finding.lines, ElementsAre(1));
  EXPECT_THAT(finding.message, HasSubstr("replace {{ a }}, {{author}}, {{name}}"));
}

TEST(Lint, ControlTokenTexts) {
  const std::vector<Turns> rows = {Pair("a", "b<|end|>"), Pair("a <|en", "b")};
  EXPECT_THAT(LinesOf(rows, "control-token-text"), ElementsAre(1));
  EXPECT_THAT(
      FindingOf(LintDataset(Chats(rows), ByteTokenizer().get()), "control-token-text").message,
      HasSubstr("\"<|end|>\""));
  EXPECT_EQ(FindingOf(LintDataset(Chats(rows), nullptr), "control-token-text").count, 0);
}

TEST(Lint, BrokenCharacters) {
  EXPECT_THAT(
      LinesOf({Pair("caf\xC3\xA9 \xC3\x83", "\xE2\x80\x99"), Pair("a", "caf\xC3\x83\xC2\xA9"),
               Pair("b", "it\xC3\xA2\xE2\x82\xAC\xE2\x84\xA2s"), Pair("c", "\xEF\xBF\xBD"),
               Pair("d", "1\xC3\x82\xC2\xA0km")},
              "broken-characters"),
      ElementsAre(2, 3, 4, 5));
}

TEST(Lint, FewRowsAndIgnoredKeys) {
  Dataset dataset = Chats({Pair("a", "b")});
  dataset.ignored_keys = {"id", "tools"};
  const std::vector<Finding> findings = LintDataset(dataset, nullptr);
  EXPECT_EQ(Describe(FindingOf(findings, "too-few-rows")),
            "warning: too-few-rows: 1 row; fewer than 20 rarely teach anything but themselves");
  EXPECT_EQ(Describe(FindingOf(findings, "ignored-keys")),
            "note: ignored-keys: keys that are not read: \"id\", \"tools\"");
  dataset.format = FileFormat::kPlainText;
  EXPECT_EQ(FindingOf(LintDataset(dataset, nullptr), "too-few-rows").count, 0);
}

TEST(Lint, Overlap) {
  const Dataset train = Chats({Pair("What is it?", "A cat."), Pair("Who?", "I.")});
  Dataset validation = Chats({Pair("New?", "Yes."), Pair("what is it", "A dog.")});
  validation.name = "v.jsonl";
  const std::vector<Finding> findings = LintOverlap(train, validation);
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_THAT(Describe(findings[0]),
              HasSubstr("warning: validation-overlap: 1 row of v.jsonl with a prompt"));
  EXPECT_THAT(findings[0].lines, ElementsAre(2));
  EXPECT_TRUE(LintOverlap(train, Chats({Pair("New?", "Yes.")})).empty());
}

TEST(Lint, IdentityHasPlaceholders) {
  ETCH_DATA_OR_SKIP(path, "instruct/llamafactory/identity.json");
  const Result<Dataset> dataset = ReadDataset(path);
  ASSERT_TRUE(dataset) << dataset.error().message;
  const std::vector<Finding> findings = LintDataset(*dataset, nullptr);
  EXPECT_GT(FindingOf(findings, "placeholder").count, 80);
  EXPECT_THAT(FindingOf(findings, "placeholder").message, HasSubstr("{{author}}, {{name}}"));
  EXPECT_FALSE(HasErrors(findings));
}

}  // namespace
}  // namespace etch::tune
