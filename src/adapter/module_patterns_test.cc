#include "adapter/module_patterns.h"

#include <gtest/gtest.h>

namespace etch::adapter::internal {
namespace {

using Entries = std::vector<std::pair<std::string, double>>;

constexpr const char* kModule = "model.layers.3.self_attn.q_proj";

double Match(const Entries& entries, std::string_view module = kModule) {
  const auto patterns = ModulePatterns::Make(entries, "rank_pattern");
  EXPECT_TRUE(patterns);
  const auto found = patterns->Find(module);
  EXPECT_TRUE(found);
  return found->value_or(-1.0);
}

std::string MakeError(const Entries& entries) {
  const auto patterns = ModulePatterns::Make(entries, "rank_pattern");
  return patterns ? "" : patterns.error().message;
}

TEST(ModulePatterns, PlainKeysMatchWholePartsAtTheEnd) {
  EXPECT_EQ(Match({{"q_proj", 5}}), 5);
  EXPECT_EQ(Match({{"self_attn.q_proj", 5}}), 5);
  EXPECT_EQ(Match({{kModule, 5}}), 5);
  EXPECT_EQ(Match({{"proj", 5}}), -1);
  EXPECT_EQ(Match({{"self_attn", 5}}), -1);
  EXPECT_EQ(Match({{"base.model.layers.3.self_attn.q_proj", 5}}), -1);
  EXPECT_EQ(Match({{"model.layers.3.self_attn.q_proj", 5}}, "model.layers.13.self_attn.q_proj"),
            -1);
  EXPECT_EQ(Match({}), -1);
}

TEST(ModulePatterns, DotOfPlainKeyMatchesAnyLetter) {
  EXPECT_EQ(Match({{"self.attn.q.proj", 5}}), 5);
}

TEST(ModulePatterns, RegularExpressionsMatchAsPythonDoes) {
  EXPECT_EQ(Match({{R"(layers\.\d+\.self_attn\.(q|k)_proj)", 5}}), 5);
  EXPECT_EQ(Match({{".*q_proj", 5}}), 5);
  EXPECT_EQ(Match({{"[qv]_proj", 5}}), 5);
  EXPECT_EQ(Match({{"[kv]_proj", 5}}), -1);
  EXPECT_EQ(Match({{"^model.*q_proj", 5}}), 5);
  EXPECT_EQ(Match({{"(?!model)q_proj", 5}}), 5);
}

TEST(ModulePatterns, FirstMatchWins) {
  EXPECT_EQ(Match({{"k_proj", 1}, {"[q]_proj", 2}, {"q_proj", 3}}), 2);
  EXPECT_EQ(Match({{"q_proj", 3}, {"[q]_proj", 2}}), 3);
}

TEST(ModulePatterns, RefusesWhatIsNoExpressionOrTooMuch) {
  EXPECT_EQ(MakeError({{"(q_proj", 1}}),
            "rank_pattern: key \"(q_proj\" is not a regular expression");
  EXPECT_EQ(MakeError({{std::string(513, 'a'), 1}}),
            "rank_pattern has a key of 513 bytes, at most 512 are read");
  Entries many(8193, {"q_proj", 1});
  EXPECT_EQ(MakeError(many), "rank_pattern has 8193 keys, at most 8192 are read");
  Entries expressions(65, {"[q]_proj", 1});
  EXPECT_EQ(MakeError(expressions),
            "rank_pattern has more than 64 keys that are regular expressions");
}

TEST(ModulePatterns, EndlessBacktrackingIsCutShort) {
  const auto patterns = ModulePatterns::Make({{"(([a-z_0-9.]+)+)+[!?]", 1}}, "alpha_pattern");
  ASSERT_TRUE(patterns);
  const auto found = patterns->Find(kModule);
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(found.error().message,
            "alpha_pattern: key \"(([a-z_0-9.]+)+)+[!?]\" is too costly to match");
}

}  // namespace
}  // namespace etch::adapter::internal
