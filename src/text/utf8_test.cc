#include "text/utf8.h"

#include <gtest/gtest.h>

namespace etch::text {
namespace {

bool IsCharacter(const std::string& text) {
  const Utf8Step step = NextUtf8(text);
  return step.state == Utf8State::kValid && step.size == text.size();
}

TEST(Utf8, EveryCodePointAndEachOfItsBeginnings) {
  for (char32_t code_point = 0; code_point < 0x110000; ++code_point) {
    std::string text;
    AppendUtf8(code_point, text);
    const bool is_surrogate = code_point >= 0xD800 && code_point < 0xE000;
    ASSERT_EQ(IsCharacter(text), !is_surrogate) << static_cast<uint32_t>(code_point);
    for (size_t size = 1; !is_surrogate && size < text.size(); ++size) {
      const Utf8Step step = NextUtf8(std::string_view(text).substr(0, size));
      ASSERT_EQ(step.state, Utf8State::kIncomplete);
      ASSERT_EQ(step.size, size);
    }
  }
}

TEST(Utf8, InvalidSequences) {
  for (const std::string text : {"\x80", "\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80",
                                 "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5", "\xFF"}) {
    EXPECT_EQ(NextUtf8(text).state, Utf8State::kInvalid) << text;
    EXPECT_EQ(NextUtf8(text).size, 1U);
  }
  EXPECT_EQ(NextUtf8("\xF0\x9F\xA6!").size, 3U);
  EXPECT_EQ(NextUtf8("\xF0\x9F\xA6!").state, Utf8State::kInvalid);
}

TEST(Utf8, ValidPrefix) {
  EXPECT_EQ(ValidUtf8Prefix("a日b\xFF c"), 5U);
  EXPECT_EQ(ValidUtf8Prefix("日\xE6\x97"), 3U);
  EXPECT_EQ(ValidUtf8Prefix(""), 0U);
}

TEST(Utf8, WhatIsNoneIsReplaced) {
  EXPECT_EQ(ToValidUtf8(""), "");
  EXPECT_EQ(ToValidUtf8("caf\xC3\xA9"), "caf\xC3\xA9");
  EXPECT_EQ(ToValidUtf8("a\xB6z\xE2\x96"), "a\xEF\xBF\xBDz\xEF\xBF\xBD");
}

TEST(Utf8, ReplaceAll) {
  EXPECT_EQ(ReplaceAll(" a  b", " ", kSpaceSymbol), "▁a▁▁b");
  EXPECT_EQ(ReplaceAll("▁▁", kSpaceSymbol, " "), "  ");
  EXPECT_EQ(ReplaceAll("", "x", "y"), "");
}

}  // namespace
}  // namespace etch::text
