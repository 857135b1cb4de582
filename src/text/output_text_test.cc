#include "text/output_text.h"

#include <gtest/gtest.h>

namespace etch::text {
namespace {

// A byte-level vocabulary: one token a byte, then whole words.
model::Vocabulary ByteVocabulary() {
  model::Vocabulary vocabulary;
  vocabulary.ranks_are_ids = true;
  for (int byte = 0; byte < 256; ++byte) {
    vocabulary.tokens.push_back({std::string(1, static_cast<char>(byte))});
  }
  return vocabulary;
}

class OutputTextTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto tokenizer = Tokenizer::Create(ByteVocabulary());
    ASSERT_TRUE(tokenizer) << tokenizer.error().message;
    tokenizer_ = std::move(*tokenizer);
  }

  // What comes out byte by byte, pieces joined by '|', with the flushed rest after '/'.
  std::string Stream(const std::string& bytes, std::vector<std::string> stop) {
    OutputText output(*tokenizer_, std::move(stop), true);
    std::string out;
    for (const char byte : bytes) {
      const std::string piece = output.Push(static_cast<unsigned char>(byte));
      out += piece.empty() ? "" : piece + "|";
    }
    return out + "/" + output.Flush() + (output.stopped() ? "!" : "");
  }

  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_F(OutputTextTest, WithoutStopStringsTextGoesThrough) {
  EXPECT_EQ(Stream("abc", {}), "a|b|c|/");
  EXPECT_EQ(Stream("abc", {""}), "a|b|c|/");  // an empty stop string is none
}

TEST_F(OutputTextTest, HoldsBackWhatMayBecomeAStopString) {
  EXPECT_EQ(Stream("a.\nb", {".\n\n"}), "a|.\nb|/");
  EXPECT_EQ(Stream("a.\n", {".\n\n"}), "a|/.\n");
  EXPECT_EQ(Stream("a.\n\nb", {".\n\n"}), "a|/!");
}

TEST_F(OutputTextTest, TheFirstOfSeveralStopStringsEndsTheText) {
  EXPECT_EQ(Stream("one two", {"two", "e t"}), "o|n|/!");
  EXPECT_EQ(Stream("aab", {"ab"}), "a|/!");  // the match may begin inside of a failed one
}

TEST_F(OutputTextTest, NeverEmitsHalfACharacter) {
  EXPECT_EQ(Stream("\xF0\x9F\x98\x80!", {}), "\xF0\x9F\x98\x80|!|/");
  EXPECT_EQ(Stream("\xF0\x9F", {}), "/\xEF\xBF\xBD");
}

}  // namespace
}  // namespace etch::text
