#include "ingest/tokenizer_gguf.h"

#include <gmock/gmock.h>

#include <limits>

namespace etch::ingest {
namespace {

using model::kNoToken;
using model::TokenType;
using testing::ElementsAre;
using testing::HasSubstr;

GgufTokenizer ByteLevel() {
  return {.model = "gpt2",
          .pre = "llama-bpe",
          .tokens = {"a", "Ġ", "Ġa", "Ġ|"},
          .merges = {"Ġ a"},
          .types = {1, 1, 1, 3},
          .bos = 3,
          .eos = 0,
          .eot = 2,
          .pad = UINT32_MAX,
          .chat_template = "{{ x }}"};
}

GgufTokenizer SentencePiece() {
  return {.model = "llama",
          .pre = "default",
          .tokens = {"<unk>", "<s>", "▁a"},
          .scores = {0, 0, -1},
          .types = {2, 3, 0},
          .bos = 1,
          .unk = 0,
          .remove_extra_whitespaces = true};
}

std::string Failure(GgufTokenizer tokenizer) {
  const auto vocabulary = VocabularyFromGguf(std::move(tokenizer));
  EXPECT_FALSE(vocabulary.has_value());
  return vocabulary ? "" : vocabulary.error().message;
}

TEST(TokenizerGguf, ByteLevel) {
  const auto vocabulary = VocabularyFromGguf(ByteLevel());
  ASSERT_TRUE(vocabulary.has_value()) << vocabulary.error().message;
  EXPECT_EQ(vocabulary->tokens[2].text, " a");
  EXPECT_EQ(vocabulary->tokens[3].text, "Ġ|");  // special tokens are plain text
  ASSERT_EQ(vocabulary->merges.size(), 1U);
  EXPECT_EQ(vocabulary->merges[0].result, 2);
  EXPECT_TRUE(vocabulary->add_bos && vocabulary->ignore_merges);
  EXPECT_EQ(vocabulary->padding, kNoToken);
  EXPECT_THAT(vocabulary->end_of_generation, ElementsAre(0, 2));
  EXPECT_EQ(vocabulary->chat_template, "{{ x }}");
}

TEST(TokenizerGguf, SentencePiece) {
  auto vocabulary = VocabularyFromGguf(SentencePiece());
  ASSERT_TRUE(vocabulary.has_value()) << vocabulary.error().message;
  EXPECT_EQ(vocabulary->order, model::MergeOrder::kScores);
  EXPECT_TRUE(vocabulary->add_bos && vocabulary->add_prefix_space &&
              vocabulary->remove_extra_spaces);
  EXPECT_FALSE(vocabulary->byte_fallback || vocabulary->prefix_space_first_only);
  EXPECT_EQ(vocabulary->tokens[2].type, TokenType::kUnused);
  GgufTokenizer other = SentencePiece();
  other.add_bos = false;
  other.add_space_prefix = false;
  vocabulary = VocabularyFromGguf(other);
  EXPECT_FALSE(vocabulary->add_bos || vocabulary->add_prefix_space);
}

TEST(TokenizerGguf, KnowsThePatternsByName) {
  for (const char* pre : {"", "default", "llama3", "llama-v3", "gpt-2", "smollm", "starcoder",
                          "refact", "qwen2", "deepseek-r1-qwen"}) {
    GgufTokenizer tokenizer = ByteLevel();
    tokenizer.pre = pre;
    const auto vocabulary = VocabularyFromGguf(tokenizer);
    ASSERT_TRUE(vocabulary.has_value()) << pre;
    EXPECT_FALSE(vocabulary->split_patterns.empty());
    EXPECT_EQ(vocabulary->add_bos, std::string_view(pre).starts_with("llama"));
  }
  GgufTokenizer tokenizer = ByteLevel();
  tokenizer.pre = "tekken";
  EXPECT_THAT(Failure(tokenizer), HasSubstr("tokenizer.ggml.pre is \"tekken\""));
}

TEST(TokenizerGguf, RefusesWhatContradictsItself) {
  GgufTokenizer tokenizer = ByteLevel();
  tokenizer.model = "t5";
  EXPECT_EQ(Failure(tokenizer),
            "tokenizer.ggml.model is \"t5\"; Etch reads \"llama\" and \"gpt2\"");
  EXPECT_EQ(Failure({}), "tokenizer.ggml.tokens is empty");
  tokenizer = ByteLevel();
  tokenizer.types.pop_back();
  EXPECT_EQ(Failure(tokenizer), "tokenizer: 4 tokens, but 3 types and 0 scores");
  tokenizer = ByteLevel();
  tokenizer.types[1] = 7;
  EXPECT_EQ(Failure(tokenizer), "tokenizer.ggml.token_type of token 1 is 7");
  tokenizer = ByteLevel();
  tokenizer.merges = {"a b"};
  EXPECT_EQ(Failure(tokenizer), "merge \"a b\": \"b\" is no token");
  tokenizer = ByteLevel();
  tokenizer.eos = 4;
  EXPECT_EQ(Failure(tokenizer), "tokenizer.ggml.eos_token_id is 4, but there are 4 tokens");
  tokenizer = SentencePiece();
  tokenizer.scores[1] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(Failure(tokenizer), "tokenizer.ggml.scores of token 1 is not a number");
  tokenizer.scores.clear();
  EXPECT_EQ(Failure(tokenizer), "tokenizer.ggml.scores is missing");
}

}  // namespace
}  // namespace etch::ingest
