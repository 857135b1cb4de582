#include "serve/reply_parts.h"

#include <gtest/gtest.h>

namespace etch::serve {
namespace {

struct Whole {
  std::string content;
  std::string reasoning;
  std::string calls;  // "name(arguments)" each
};

// The same parts come out however the text is cut.
Whole Split(const std::string& text, const std::vector<std::string>& tools = {},
            bool thinking = false) {
  Whole first;
  for (const size_t step : {size_t{1}, size_t{3}, text.size() + 1}) {
    ReplyParts parts(tools, thinking);
    Whole whole;
    for (size_t at = 0; at <= text.size(); at += step) {
      const ReplyPiece piece = parts.Push(text.substr(at, step), at + step > text.size());
      whole.content += piece.content;
      whole.reasoning += piece.reasoning;
      for (const ToolCall& call : piece.calls) {
        whole.calls += call.name + "(" + call.arguments + ")";
      }
    }
    if (step == 1) {
      first = whole;
    }
    EXPECT_EQ(whole.content, first.content) << text << " by " << step;
    EXPECT_EQ(whole.reasoning, first.reasoning) << text << " by " << step;
    EXPECT_EQ(whole.calls, first.calls) << text << " by " << step;
  }
  return first;
}

TEST(ReplyParts, PlainTextIsTheAnswer) {
  for (const char* text :
       {"", "hi", " hi ", "<thin", "a <think> b", "{\"a\":1}", "<tool_call>{}"}) {
    EXPECT_EQ(Split(text).content, text);
    EXPECT_EQ(Split(text).reasoning, "");
  }
}

TEST(ReplyParts, ThoughtsAreTakenOut) {
  const Whole whole = Split("\n<think>\nwell </thin\n</think>\n\nyes");
  EXPECT_EQ(whole.reasoning, "well </thin\n");
  EXPECT_EQ(whole.content, "yes");
  EXPECT_EQ(Split("\nso</think> yes", {}, true).reasoning, "so");
  EXPECT_EQ(Split("\nso</think> yes", {}, true).content, "yes");
  EXPECT_EQ(Split("<think>never ends").reasoning, "never ends");
}

TEST(ReplyParts, CallsAreReadInBothForms) {
  const Whole hermes = Split(
      "<think>x</think>Let me see.\n<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 1}}\n"
      "</tool_call>\n<tool_call>{\"name\":\"other\"}</tool_call>",
      {"add", "other"});
  EXPECT_EQ(hermes.content, "Let me see.");
  EXPECT_EQ(hermes.calls, "add({\"a\":1})other({})");
  const Whole llama = Split("{\"name\": \"add\", \"parameters\": {\"s\": \";\"}}", {"add"});
  EXPECT_EQ(llama.content, "");
  EXPECT_EQ(llama.calls, "add({\"s\":\";\"})");
  EXPECT_EQ(
      Split("<|python_tag|>{\"name\":\"a\",\"parameters\":{}}; {\"name\":\"b\"}", {"a", "b"}).calls,
      "a({})b({})");
}

TEST(ReplyParts, TextGoesOnBehindACall) {
  const Whole whole = Split(
      "one <tool_call>{\"name\":\"add\",\"arguments\":\"{\\\"a\\\":1}\"}</tool_call> two", {"add"});
  EXPECT_EQ(whole.content, "one\ntwo");
  EXPECT_EQ(whole.calls, "add({\"a\":1})");
  EXPECT_EQ(Split("<tool_call>{\"name\":\"add\"}</tool_call> two", {"add"}).content, "two");
}

TEST(ReplyParts, WhatIsNoCallStaysText) {
  for (const char* text :
       {"{\"name\": \"unknown\", \"parameters\": {}}", "{\"a\": 1}", "{not json; at all", "{",
        "<tool_call>nothing</tool_call>", "<tool_call>{\"name\":5}</tool_call>",
        "<tool_call>{\"name\":\"unknown\"}</tool_call>", "a  <tool"}) {
    const Whole whole = Split(text, {"add"});
    EXPECT_EQ(whole.content, text);
    EXPECT_EQ(whole.calls, "");
  }
  const std::string deep = "<tool_call>" + std::string(100000, '[') + "</tool_call>";
  ReplyParts parts({"add"}, false);
  EXPECT_EQ(parts.Push(deep, true).content, deep);
  EXPECT_EQ(parts.calls(), 0);
}

}  // namespace
}  // namespace etch::serve
