#include "ingest/tokenizer_parts.h"

#include <gmock/gmock.h>

namespace etch::ingest {
namespace {

using testing::ElementsAre;

TEST(TokenizerParts, ByteAlphabetIsGpt2s) {
  EXPECT_EQ(FromByteAlphabet("Ġthe"), " the");
  EXPECT_EQ(FromByteAlphabet("Ċ"), "\n");
  EXPECT_EQ(FromByteAlphabet("Ã©"), "é");
  EXPECT_EQ(FromByteAlphabet("Ń"), "\xAD");
  EXPECT_EQ(FromByteAlphabet("ń"), std::nullopt);
  EXPECT_EQ(FromByteAlphabet("two words"), std::nullopt);
  EXPECT_EQ(FromByteAlphabet("日"), std::nullopt);
  EXPECT_EQ(FromByteAlphabet("\xC4"), std::nullopt);
}

TEST(TokenizerParts, EndOfGenerationIsSortedAndUnique) {
  model::Vocabulary vocabulary;
  vocabulary.tokens = {{.text = "<|im_end|>", .type = model::TokenType::kControl},
                       {.text = "x"},
                       {.text = "<|eot_id|>"},
                       {.text = "<|end|>", .type = model::TokenType::kUserDefined}};
  vocabulary.end_of_generation = {3};
  vocabulary.eos = 1;
  CollectEndOfGeneration(vocabulary);
  EXPECT_THAT(vocabulary.end_of_generation, ElementsAre(0, 1, 3));
}

}  // namespace
}  // namespace etch::ingest
