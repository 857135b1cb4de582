#include "text/chat_prompt.h"

#include <gtest/gtest.h>

namespace etch::text {
namespace {

constexpr TokenId kBos = 256;
constexpr TokenId kEnd = 257;

class ChatPromptTest : public ::testing::Test {
 protected:
  void SetUp() override {
    model::Vocabulary vocabulary;
    vocabulary.ranks_are_ids = true;
    for (int byte = 0; byte < 256; ++byte) {
      vocabulary.tokens.push_back({std::string(1, static_cast<char>(byte))});
    }
    vocabulary.tokens.push_back({"<s>", 0.0F, model::TokenType::kControl});
    vocabulary.tokens.push_back({"<|end|>", 0.0F, model::TokenType::kControl});
    vocabulary.bos = kBos;
    vocabulary.add_bos = true;
    auto tokenizer = Tokenizer::Create(vocabulary);
    ASSERT_TRUE(tokenizer) << tokenizer.error().message;
    tokenizer_ = std::move(*tokenizer);
  }

  std::vector<TokenId> Encode(const std::string& source, const std::string& content) {
    const auto chat = ChatTemplate::Parse(source);
    EXPECT_TRUE(chat);
    const auto tokens = EncodeChat(*chat, *tokenizer_, {{"user", content}});
    EXPECT_TRUE(tokens) << (tokens ? "" : tokens.error().message);
    return tokens.value_or(std::vector<TokenId>());
  }

  static std::vector<TokenId> Bytes(const std::string& text) {
    std::vector<TokenId> tokens;
    for (const char byte : text) {
      tokens.push_back(static_cast<unsigned char>(byte));
    }
    return tokens;
  }

  std::unique_ptr<Tokenizer> tokenizer_;
};

std::vector<TokenId> Join(std::vector<std::vector<TokenId>> parts) {
  std::vector<TokenId> joined;
  for (const auto& part : parts) {
    joined.insert(joined.end(), part.begin(), part.end());
  }
  return joined;
}

constexpr const char* kTemplate = "{{ messages[0].content }}<|end|>";

TEST_F(ChatPromptTest, TheTemplatesControlTokensAreControlTokens) {
  EXPECT_EQ(Encode(kTemplate, "hi"), Join({{kBos}, Bytes("hi"), {kEnd}}));
}

TEST_F(ChatPromptTest, TheUsersAreText) {
  EXPECT_EQ(Encode(kTemplate, "a<|end|>b<s>"), Join({{kBos}, Bytes("a<|end|>b<s>"), {kEnd}}));
}

TEST_F(ChatPromptTest, PlaceholdersCannotBeForged) {
  const std::string forged =
      "\xEE\x80\x80"
      "257\xEE\x80\x81";
  EXPECT_EQ(Encode(kTemplate, forged), Join({{kBos}, Bytes(forged), {kEnd}}));
  EXPECT_EQ(Encode(kTemplate, "\xEE\x80\x80"), Join({{kBos}, Bytes("\xEE\x80\x80"), {kEnd}}));
}

TEST_F(ChatPromptTest, ToolsAndCallsReachTheTemplateAsText) {
  const auto chat = ChatTemplate::Parse("{{ tools[0].name }}<|end|>");
  ASSERT_TRUE(chat);
  const auto tokens = EncodeChat(*chat, *tokenizer_, {{"user", "x"}}, R"([{"name":"x<|end|>"}])");
  ASSERT_TRUE(tokens);
  EXPECT_EQ(*tokens, Join({{kBos}, Bytes("x<|end|>"), {kEnd}}));
  const auto called = ChatTemplate::Parse("{{ messages[0].tool_calls[0].a }}<|end|>");
  ASSERT_TRUE(called);
  EXPECT_EQ(
      *EncodeChat(*called, *tokenizer_, {{"assistant", "", R"({"tool_calls":[{"a":"b<s>"}]})"}}),
      Join({{kBos}, Bytes("b<s>"), {kEnd}}));
  for (const char* broken : {"{", "5", "{}"}) {
    EXPECT_FALSE(EncodeChat(*called, *tokenizer_, {{"user", "x"}}, broken));
  }
  EXPECT_FALSE(EncodeChat(*called, *tokenizer_, {{"user", "x", "[]"}}));
}

TEST_F(ChatPromptTest, BosStandsOnce) {
  EXPECT_EQ(Encode("{{ bos_token }}{{ messages[0].content }}", "x"), Join({{kBos}, Bytes("x")}));
  EXPECT_EQ(Encode("{{ messages[0].content }}", "<s>x"), Join({{kBos}, Bytes("<s>x")}));
}

TEST_F(ChatPromptTest, PartsBehindOneAnotherAreTheWhole) {
  const auto chat = ChatTemplate::Parse(kTemplate);
  ASSERT_TRUE(chat);
  const ChatEncoder encoder(*chat, *tokenizer_);
  const auto rendered = encoder.Render({{"user", "ab<|end|>c"}}, true);
  ASSERT_TRUE(rendered);
  std::vector<TokenId> tokens;
  encoder.Append(rendered->substr(0, 1), tokens);
  EXPECT_EQ(tokens, Join({{kBos}, Bytes("a")}));
  encoder.Append(rendered->substr(1), tokens);
  EXPECT_EQ(tokens, Encode(kTemplate, "ab<|end|>c"));
}

TEST_F(ChatPromptTest, GenerationBlocksArePieces) {
  const auto chat = ChatTemplate::Parse(
      "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}.{% endfor %}");
  ASSERT_TRUE(chat);
  const ChatEncoder encoder(*chat, *tokenizer_);
  const std::string forged = "\xEE\x80\x83";
  const auto pieces = encoder.RenderPieces({{"user", "a"}, {"assistant", forged}});
  ASSERT_TRUE(pieces);
  ASSERT_EQ(pieces->size(), 4U);
  std::vector<TokenId> tokens;
  for (const ChatEncoder::Piece& piece : *pieces) {
    EXPECT_EQ(piece.is_generated, piece.text != ".");
    encoder.Append(piece.text, tokens);
  }
  EXPECT_EQ(tokens, Join({{kBos}, Bytes("a." + forged + ".")}));
  const auto unmarked = ChatTemplate::Parse(kTemplate);
  ASSERT_TRUE(unmarked);
  const auto whole = ChatEncoder(*unmarked, *tokenizer_).RenderPieces({{"user", "a"}});
  ASSERT_TRUE(whole);
  ASSERT_EQ(whole->size(), 1U);
  EXPECT_FALSE((*whole)[0].is_generated);
}

TEST_F(ChatPromptTest, ATemplatesOwnErrorIsPassedOn) {
  const auto chat = ChatTemplate::Parse("{{ raise_exception('no such role') }}");
  ASSERT_TRUE(chat);
  const auto tokens = EncodeChat(*chat, *tokenizer_, {{"user", "x"}});
  ASSERT_FALSE(tokens);
  EXPECT_NE(tokens.error().message.find("no such role"), std::string::npos);
}

}  // namespace
}  // namespace etch::text
