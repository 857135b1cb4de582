#include "text/split_pattern.h"

#include <gmock/gmock.h>

#include <chrono>

namespace etch::text {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<std::string_view> Split(std::string_view pattern, std::string_view text) {
  const auto compiled = SplitPattern::Compile(pattern);
  EXPECT_TRUE(compiled.has_value()) << (compiled ? "" : compiled.error().message);
  std::vector<std::string_view> pieces;
  compiled->Split(text, pieces);
  return pieces;
}

TEST(SplitPattern, MatchesAndGapsArePieces) {
  EXPECT_THAT(Split("b+", "abbbcb"), ElementsAre("a", "bbb", "c", "b"));
  EXPECT_THAT(Split("x", "abc"), ElementsAre("abc"));
  EXPECT_THAT(Split("a", ""), IsEmpty());
}

TEST(SplitPattern, ClassesAreUnicode) {
  EXPECT_THAT(Split(R"(\p{L}+|\s+)", "naïve\u00A0été٣"),
              ElementsAre("naïve", "\u00A0", "été", "٣"));
  EXPECT_THAT(Split(R"((?i:'s)|\p{N}{1,3})", "x'S12345"), ElementsAre("x", "'S", "123", "45"));
}

TEST(SplitPattern, EmptyMatchesCutNothing) {
  EXPECT_THAT(Split("x*", "日x本"), ElementsAre("日", "x", "本"));
  EXPECT_THAT(Split("(?=b)", "abab"), ElementsAre("abab"));
}

TEST(SplitPattern, MovedMatchesLoseNothing) {
  std::string joined;
  for (const std::string_view piece : Split(R"(a\Kb|(?<=b)a)", "abababab")) {
    joined += piece;
  }
  EXPECT_EQ(joined, "abababab");
}

TEST(SplitPattern, CostlyMatchesAreLimited) {
  const std::string text = "b" + std::string(60, 'a') + "c";
  const auto start = std::chrono::steady_clock::now();
  const auto pieces = Split("^b|(a+)+$", text);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
  EXPECT_THAT(pieces, ElementsAre("b", text.substr(1)));
}

TEST(SplitPattern, RefusesBrokenOnes) {
  for (const std::string& pattern :
       {std::string("["), std::string("\\C"), std::string(5000, 'a'), std::string("\xFF")}) {
    const auto compiled = SplitPattern::Compile(pattern);
    ASSERT_FALSE(compiled.has_value()) << pattern;
    EXPECT_EQ(compiled.error().code, ErrorCode::kMalformed);
    EXPECT_THAT(compiled.error().message, HasSubstr("is broken at byte"));
  }
}

}  // namespace
}  // namespace etch::text
