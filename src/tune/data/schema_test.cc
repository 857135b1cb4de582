#include "tune/data/schema.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

namespace etch::tune::internal {
namespace {

using ::testing::HasSubstr;

// "schema|columns|role:content|…", or the error.
std::string Read(const std::string& json, const DatasetOptions& options = {}) {
  RowReader reader("a", options);
  const Result<Example> example = reader.Read(7, Json::parse(json));
  if (!example) {
    return "error: " + example.error().message;
  }
  std::string shown = std::string(SchemaName(reader.schema())) + "|" + reader.columns();
  for (const text::ChatMessage& message : example->messages) {
    shown += "|" + message.role + ":" + message.content;
  }
  return shown + (example->text.empty() ? "" : "|" + example->text);
}

TEST(Schema, HasANameEach) {
  for (const Schema schema : {Schema::kMessages, Schema::kShareGpt, Schema::kAlpaca,
                              Schema::kPromptCompletion, Schema::kText}) {
    EXPECT_EQ(SchemaFromName(SchemaName(schema)), schema);
  }
  EXPECT_EQ(SchemaFromName("csv"), std::nullopt);
}

TEST(Schema, Messages) {
  EXPECT_EQ(Read(R"({"messages": [{"role": "system", "content": "S"},
                     {"role": "user", "content": [{"type": "text", "text": "A"}, "B"]},
                     {"role": "assistant", "content": null}]})"),
            "messages|messages|system:S|user:AB|assistant:");
  EXPECT_EQ(Read(R"({"messages": "[{\"role\": \"user\", \"content\": \"A\"}]"})"),
            "messages|messages|user:A");
}

TEST(Schema, ShareGpt) {
  EXPECT_EQ(Read(R"({"system": "S", "conversations": [{"from": "human", "value": "A"},
                     {"from": "function_call", "value": "f"}, {"from": "observation",
                     "value": "1"}, {"from": "gpt", "value": "B"}]
})"),
            "sharegpt|conversations|system:S|user:A|assistant:f|tool:1|assistant:B");
}

TEST(Schema, Alpaca) {
  EXPECT_EQ(Read(R"({"instruction": "I", "input": "", "output": "O"})"),
            "alpaca|instruction + input -> output|user:I|assistant:O");
  EXPECT_EQ(Read(R"({"Instruction": "I", "context": "C", "response": "O", "system": "S",
                     "history": [["A", "B"]]})"),
            "alpaca|Instruction + context -> response|system:S|user:A|assistant:B|user:I\nC"
            "|assistant:O");
}

TEST(Schema, PromptCompletion) {
  EXPECT_EQ(Read(R"({"question": "Q", "answer": 4})"),
            "prompt-completion|question -> answer|user:Q|assistant:4");
  EXPECT_EQ(Read(R"({"input": "Q", "output": "A"})"),
            "prompt-completion|input -> output|user:Q|assistant:A");
  EXPECT_EQ(Read(R"({"prompt": [{"role": "system", "content": "S"}, {"role": "user",
                     "content": "Q"}], "completion": [{"role": "assistant", "content": "A"}]})"),
            "prompt-completion|prompt -> completion|system:S|user:Q|assistant:A");
}

TEST(Schema, Text) { EXPECT_EQ(Read(R"({"text": "T", "label": 1})"), "text|text|T"); }

TEST(Schema, CanBeSaid) {
  EXPECT_EQ(Read(R"({"instruction": "I", "output": "O", "text": "T"})", {.schema = Schema::kText}),
            "text|text|T");
  EXPECT_EQ(Read(R"({"Frage": "Q", "Antwort": "A"})",
                 {.columns = {{"prompt", "Frage"}, {"completion", "Antwort"}}}),
            "prompt-completion|Frage -> Antwort|user:Q|assistant:A");
  EXPECT_THAT(Read(R"({"text": "T"})", {.schema = Schema::kAlpaca}),
              HasSubstr("a:7: the row does not fit schema alpaca; its keys are \"text\"; schemas: "
                        "messages (messages: role, content), sharegpt"));
}

TEST(Schema, IsOneForAFile) {
  const DatasetOptions options;
  RowReader reader("a", options);
  ASSERT_TRUE(reader.Read(1, Json::parse(R"({"text": "T", "id": 1})")));
  ASSERT_TRUE(reader.Read(2, Json::parse(R"({"text": "T", "meta": 1})")));
  EXPECT_THAT(reader.ignored_keys(), testing::ElementsAre("id", "meta"));
  const Result<Example> other = reader.Read(3, Json::parse(R"({"prompt": "T"})"));
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().message,
            "a:3: no row of schema text like those before it; its keys are \"prompt\"");
  EXPECT_EQ(other.error().code, ErrorCode::kInvalidArgument);
}

TEST(Schema, ErrorsSayWhatIsThere) {
  EXPECT_THAT(Read(R"({"b": 1, "a": 2})"),
              HasSubstr("a:7: no schema fits the keys \"a\", \"b\"; schemas: messages"));
  EXPECT_THAT(Read("{}"), HasSubstr("no schema fits the keys none"));
  EXPECT_THAT(Read(fmt::format("{{\"{:x>100}\": 1}}", "")), HasSubstr("a name of 100 bytes"));
  EXPECT_THAT(Read(R"({"conversations": [], "chosen": {}, "rejected": {}})"),
              HasSubstr("a:7: the rows are preferences"));
  EXPECT_THAT(Read(R"({"text": {}})"), HasSubstr("a:7: \"text\" is an object, not text"));
  EXPECT_THAT(Read(R"({"instruction": "I", "output": "O", "history": [["A"]]})"),
              HasSubstr("a:7: history is a list of pairs"));
  EXPECT_THAT(Read(R"({"instruction": "I", "output": "O", "history": "A"})"),
              HasSubstr("a:7: history is a list of pairs"));
}

TEST(Schema, ErrorsOfTurns) {
  const auto turns = [](const std::string& list) { return Read("{\"messages\": " + list + "}"); };
  EXPECT_THAT(turns("{}"), HasSubstr("a:7: a conversation is a list of turns, this one is an obj"));
  EXPECT_THAT(turns("\"x\""),
              HasSubstr("a:7: a conversation is a list of turns, this one is a nu"));
  EXPECT_THAT(turns("[1]"), HasSubstr("a:7: a turn is an object {…}, this one is a number"));
  EXPECT_THAT(turns(R"([{"content": "x"}])"), HasSubstr("a:7: a turn has no role"));
  EXPECT_THAT(turns(R"([{"role": "user"}])"), HasSubstr("a:7: a turn has no content"));
  EXPECT_THAT(turns(R"([{"role": "narrator", "content": "x"}])"),
              HasSubstr("a:7: role \"narrator\" is none of system"));
  EXPECT_THAT(turns(R"([{"role": "user", "content": [{"type": "image_url"}]}])"),
              HasSubstr("a:7: content of type \"image_url\"; text is read"));
  EXPECT_THAT(turns(R"([{"role": "assistant", "content": "", "tool_calls": [{}]}])"),
              HasSubstr("a:7: a turn calls tools"));
}

}  // namespace
}  // namespace etch::tune::internal
