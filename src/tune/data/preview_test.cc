#include "tune/data/preview.h"

#include <gtest/gtest.h>

#include "tune/data/byte_tokenizer_test.h"

namespace etch::tune {
namespace {

Sample SampleOf(const std::string& read, const std::string& trained) {
  Sample sample{.tokens = {kBos}, .trained = {0}, .line = 3};
  for (const auto& [text, is_trained] : {std::pair(read, 0), std::pair(trained, 1)}) {
    for (const char byte : text) {
      sample.tokens.push_back(static_cast<unsigned char>(byte));
      sample.trained.push_back(static_cast<uint8_t>(is_trained));
    }
  }
  return sample;
}

TEST(Preview, MarksWhatIsTrained) {
  Sample sample = SampleOf("ab", "cd");
  sample.tokens.push_back('e');
  sample.trained.push_back(0);
  EXPECT_EQ(Preview(*ByteTokenizer(), sample), "line 3: 6 tokens, 2 trained\n<s>·a·b·⟦c·d⟧·e\n");
  EXPECT_EQ(Preview(*ByteTokenizer(), SampleOf("", "c")), "line 3: 2 tokens, 1 trained\n<s>·⟦c⟧\n");
}

TEST(Preview, ColorsWhatIsTrained) {
  EXPECT_EQ(Preview(*ByteTokenizer(), SampleOf("a", "bc"), {.color = true}),
            "line 3: 4 tokens, 2 trained\n"
            "\x1B[0m\x1B[2m<s>·a·\x1B[0m\x1B[32mb·c\x1B[0m\n");
}

TEST(Preview, ShowsIds) {
  EXPECT_EQ(Preview(*ByteTokenizer(), SampleOf("\n", "a"), {.ids = true}),
            "line 3: 3 tokens, 1 trained\n<s>(256)·\\n(10)\n⟦a(97)⟧\n");
}

TEST(Preview, CannotSteerATerminal) {
  const std::string shown = Preview(*ByteTokenizer(), SampleOf("\x1B[31m\t\xC3\x7F", ""));
  EXPECT_EQ(shown, "line 3: 9 tokens, 0 trained\n<s>·\\x1B·[·3·1·m·\\t·\\xC3·\\x7F\n");
  model::Vocabulary vocabulary = ByteVocabulary();
  vocabulary.tokens.push_back({"é\xC2\x9B"});
  EXPECT_EQ(Preview(*ByteTokenizer(vocabulary), {{260}, {0}, 1}),
            "line 1: 1 token, 0 trained\né\\xC2\\x9B\n");
}

TEST(Preview, SaysWhatItLeavesOut) {
  EXPECT_EQ(Preview(*ByteTokenizer(), SampleOf("abc", "d"), {.max_tokens = 2}),
            "line 3: 5 tokens, 1 trained\n<s>·a … 3 tokens more\n");
}

}  // namespace
}  // namespace etch::tune
