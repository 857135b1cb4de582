// Text comes back byte for byte, whole and as a stream, and long texts take no long time.

#include <gtest/gtest.h>

#include <chrono>

#include "tokenizer/real_tokenizers.h"

namespace etch::test {
namespace {

using text::TokenId;
using text::Tokenizer;

constexpr std::string_view kWiki = "text/wikitext-2-raw/wiki.test.raw";

void ExpectRoundTrip(const Tokenizer& tokenizer, const std::string& text) {
  const std::vector<TokenId> ids = Ids(tokenizer, text);
  EXPECT_TRUE(tokenizer.Decode(ids) == text);
  text::StreamDecoder decoder(tokenizer, true);
  std::string streamed;
  for (const TokenId id : ids) {
    streamed += decoder.Push(id);
  }
  streamed += decoder.Flush();
  EXPECT_TRUE(streamed == text);
}

TEST(RoundTrip, Llama3) {
  ETCH_DATA_OR_SKIP(root, "tokenizers");
  ETCH_DATA_OR_SKIP(text_path, kWiki);
  ExpectRoundTrip(*Llama3(root), ReadText(text_path));
}

TEST(RoundTrip, SmolLm) {
  ETCH_DATA_OR_SKIP(root, "tokenizers");
  ETCH_DATA_OR_SKIP(text_path, kWiki);
  ExpectRoundTrip(*SmolLm(root), ReadText(text_path));
}

TEST(RoundTrip, Gpt2) {
  ETCH_DATA_OR_SKIP(root, "tokenizers");
  ETCH_DATA_OR_SKIP(text_path, kWiki);
  ExpectRoundTrip(*FromGguf(root / "vectors/ggml-vocab-gpt-2.gguf"), ReadText(text_path));
}

TEST(RoundTrip, Llama2) {
  ETCH_DATA_OR_SKIP(root, "tokenizers");
  ETCH_DATA_OR_SKIP(text_path, kWiki);
  ExpectRoundTrip(*Llama2Model(root), ReadText(text_path));
}

// 3.2 MB, and texts without any place to cut. A quadratic algorithm takes hours for them.
TEST(RoundTrip, LongTexts) {
  ETCH_DATA_OR_SKIP(root, "tokenizers");
  ETCH_DATA_OR_SKIP(text_path, "text/war-and-peace.txt");
  const std::string book = ReadText(text_path);
  for (const auto& tokenizer : {Llama3(root), Llama2Model(root)}) {
    for (const std::string& text : {book, std::string(300'000, 'a'), std::string(300'000, ' '),
                                    std::string(100'000, '<'), std::string(100'000, '\xFF')}) {
      const auto start = std::chrono::steady_clock::now();
      const std::vector<TokenId> ids = Ids(*tokenizer, text);
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
      EXPECT_LT(took.count(), 10.0);
      RecordProperty(std::to_string(text.size()) + text.substr(0, 1), std::to_string(took.count()));
      EXPECT_TRUE(tokenizer->Decode(ids) == text);
    }
  }
}

}  // namespace
}  // namespace etch::test
