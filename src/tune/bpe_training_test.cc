#include "tune/bpe_training.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "text/tokenizer.h"

namespace etch::tune {
namespace {

BpeSettings Settings(int64_t size) {
  BpeSettings settings;
  settings.vocab_size = size;
  settings.control_tokens = {"<|bos|>", "<|end|>"};
  settings.bos = "<|bos|>";
  settings.end_of_turn = "<|end|>";
  return settings;
}

TEST(BpeTraining, MergesTheMostFrequentPairsFirst) {
  const std::vector<std::string> texts = {"low low low low low lower lower newest newest newest",
                                          "newest newest newest widest widest widest"};
  auto vocabulary = TrainBpe(texts, Settings(262));
  ASSERT_TRUE(vocabulary);
  std::vector<std::string> merged;
  for (const model::Merge& merge : vocabulary->merges) {
    merged.push_back(vocabulary->tokens[static_cast<size_t>(merge.result)].text);
  }
  // "es" and "st" stand 9 times each, lower ids first; then "est", "lo" and "low" (7).
  EXPECT_THAT(merged, ::testing::ElementsAre("es", "est", "lo", "low"));
  EXPECT_EQ(vocabulary->bos, 0);
  EXPECT_EQ(vocabulary->eos, 1);
}

TEST(BpeTraining, TheTokenizerReadsWhatWasLearnt) {
  std::vector<std::string> texts;
  for (int row = 0; row < 200; ++row) {
    texts.push_back("Please tell me the price of item " + std::to_string(row * 7) +
                    ", thank you!\n");
  }
  auto vocabulary = TrainBpe(texts, Settings(400));
  ASSERT_TRUE(vocabulary);
  auto tokenizer = text::Tokenizer::Create(*vocabulary);
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  for (const std::string text :
       {"Please tell me the price", "12 items", "", "\xC3\xA9t\xC3\xA9", "<|end|>"}) {
    EXPECT_EQ((*tokenizer)->Decode((*tokenizer)->Encode(text, {false, false})), text);
  }
  EXPECT_EQ((*tokenizer)->Encode("Please tell me the price").size(), 6U);  // bos and five words
  EXPECT_EQ((*tokenizer)->Encode("1234", {false, false}).size(), 4U);      // digits stay apart
}

TEST(BpeTraining, StopsWhenNothingRepeats) {
  auto vocabulary = TrainBpe(std::vector<std::string>{"abc"}, Settings(1000));
  ASSERT_TRUE(vocabulary);
  EXPECT_TRUE(vocabulary->merges.empty());
}

TEST(BpeTraining, RefusesWhatCannotBe) {
  const std::vector<std::string> texts = {"abc"};
  EXPECT_FALSE(TrainBpe(texts, Settings(100)));
  BpeSettings settings = Settings(400);
  settings.end_of_turn = "<|eot|>";
  const auto result = TrainBpe(texts, settings);
  ASSERT_FALSE(result);
  EXPECT_NE(result.error().message.find("<|eot|>"), std::string::npos);
}

}  // namespace
}  // namespace etch::tune
