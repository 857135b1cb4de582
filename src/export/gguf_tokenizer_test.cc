#include "export/gguf_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "export/parity.h"
#include "export/tiny_vocabulary_test.h"
#include "ingest/gguf_model.h"

namespace etch::exporting {
namespace {

using model::TokenType;
using model::Vocabulary;
using testing::ByteLevelVocabulary;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::SentencePieceVocabulary;

struct Written {
  formats::GgufMetadata metadata;
  std::vector<std::string> notes;
  Vocabulary read;
};

Written Write(const Vocabulary& vocabulary, int64_t vocab_size = 300) {
  Written written;
  EXPECT_EQ(testing::ErrorOf(AddTokenizer(vocabulary, vocab_size, written.metadata, written.notes)),
            "");
  auto read = ingest::VocabularyFromMetadata(written.metadata);
  EXPECT_EQ(testing::ErrorOf(read), "");
  written.read = read.value_or(Vocabulary());
  return written;
}

TEST(GgufTokenizer, ByteLevelReadsBack) {
  const Vocabulary vocabulary = ByteLevelVocabulary();
  const Written written = Write(vocabulary);
  EXPECT_THAT(written.notes, IsEmpty());
  EXPECT_THAT(TokenizerDifferences(vocabulary, written.read), IsEmpty());
  ASSERT_EQ(written.read.tokens.size(), 300U);
  EXPECT_EQ(written.read.tokens[299].text, "[PAD299]");
  EXPECT_EQ(written.read.tokens[299].type, TokenType::kUnused);
  EXPECT_EQ(written.read.tokens[' '].text, " ");
  EXPECT_EQ(written.read.tokens[261].type, TokenType::kUserDefined);
  EXPECT_EQ(written.read.eos, 260);
  EXPECT_EQ(written.read.end_of_generation, vocabulary.end_of_generation);
  EXPECT_EQ(written.read.chat_template, vocabulary.chat_template);
  EXPECT_FALSE(written.read.add_bos);
}

TEST(GgufTokenizer, SentencePieceReadsBack) {
  const Vocabulary vocabulary = SentencePieceVocabulary();
  const Written written = Write(vocabulary, 270);
  EXPECT_THAT(written.notes, IsEmpty());
  EXPECT_THAT(TokenizerDifferences(vocabulary, written.read), IsEmpty());
  EXPECT_EQ(written.read.tokens[262].score, vocabulary.tokens[262].score);
  EXPECT_EQ(written.read.unknown, 0);
  EXPECT_TRUE(written.read.add_bos && written.read.byte_fallback);
}

TEST(GgufTokenizer, RanksOfSentencePieceBecomeScores) {
  Vocabulary vocabulary = SentencePieceVocabulary();
  vocabulary.order = model::MergeOrder::kRanks;
  vocabulary.merges = {{260, 261, 264}, {262, 262, 265}, {264, 265, 266}};
  const Written written = Write(vocabulary, 270);
  EXPECT_THAT(written.notes, ElementsAre(HasSubstr("ranks of merges became scores")));
  EXPECT_EQ(written.read.tokens[264].score, 0.0F);
  EXPECT_EQ(written.read.tokens[266].score, -2.0F);
  EXPECT_LT(written.read.tokens[267].score, -1e6F);
}

TEST(GgufTokenizer, PatternsHaveNames) {
  Vocabulary vocabulary = ByteLevelVocabulary();
  EXPECT_EQ(PreTokenizerName(vocabulary), "gpt-2");
  vocabulary.split_digits = true;
  EXPECT_EQ(PreTokenizerName(vocabulary), "smollm");
  vocabulary.split_digits = false;
  vocabulary.split_patterns = {std::string(ingest::kLlama3Pattern)};
  EXPECT_EQ(PreTokenizerName(vocabulary), "llama-bpe");
  vocabulary.split_patterns = {std::string(ingest::kQwen2Pattern)};
  EXPECT_EQ(PreTokenizerName(vocabulary), "qwen2");
  vocabulary.split_patterns = {};
  EXPECT_EQ(PreTokenizerName(vocabulary), "");
  // What a file without a name means.
  vocabulary.split_patterns = {R"(\w+)"};
  EXPECT_EQ(PreTokenizerName(vocabulary), "");
  EXPECT_EQ(PreTokenizerName(Write(vocabulary).read), "default");
}

TEST(GgufTokenizer, WhatLlamaCppDoesOtherwiseIsSaid) {
  Vocabulary vocabulary = ByteLevelVocabulary();
  vocabulary.split_patterns = {R"(\w+)", R"(\d)"};
  EXPECT_THAT(Write(vocabulary).notes, ElementsAre(HasSubstr("no name for the 2 patterns")));
  vocabulary = ByteLevelVocabulary();
  vocabulary.ignore_merges = true;
  EXPECT_THAT(Write(vocabulary).notes,
              ElementsAre(HasSubstr("this model does not merge pieces that are whole tokens")));
  vocabulary = ByteLevelVocabulary();
  vocabulary.add_prefix_space = true;
  EXPECT_THAT(Write(vocabulary).notes, ElementsAre(HasSubstr("no space in front")));
  vocabulary = ByteLevelVocabulary();
  vocabulary.eos = model::kNoToken;
  EXPECT_THAT(Write(vocabulary).notes, ElementsAre(HasSubstr("takes token 11 for it")));
  vocabulary = ByteLevelVocabulary();
  vocabulary.tokens[260].lstrip = true;
  EXPECT_THAT(Write(vocabulary).notes, ElementsAre(HasSubstr("white space beside them")));
  vocabulary = ByteLevelVocabulary();
  vocabulary.tokens.push_back({.text = "<|im_end|>", .type = TokenType::kControl});
  EXPECT_THAT(Write(vocabulary).notes, ElementsAre(HasSubstr("1 tokens have the text of another")));
  vocabulary = SentencePieceVocabulary();
  vocabulary.prefix_space_first_only = true;
  vocabulary.prefix_space_unless_space = true;
  vocabulary.remove_extra_spaces = true;
  EXPECT_THAT(Write(vocabulary).notes,
              ElementsAre(HasSubstr("after every special token"),
                          HasSubstr("even when it begins with one"), HasSubstr("spaces in a row")));
}

TEST(GgufTokenizer, OneMoreEndOfAnswerHasAPlace) {
  Vocabulary vocabulary = ByteLevelVocabulary();
  for (const char* text : {"<|stop|>", "<|halt|>"}) {
    vocabulary.end_of_generation.push_back(static_cast<model::TokenId>(vocabulary.tokens.size()));
    vocabulary.tokens.push_back({.text = text, .type = TokenType::kControl});
  }
  const Written written = Write(vocabulary);
  EXPECT_EQ(written.read.end_of_generation, (std::vector<model::TokenId>{260, 262}));
  EXPECT_THAT(written.notes, ElementsAre(HasSubstr("1 of the tokens that end an answer")));
}

TEST(GgufTokenizer, MergesThatCannotBeWrittenAreAnError) {
  Vocabulary vocabulary = ByteLevelVocabulary();
  vocabulary.tokens.push_back({.text = "a wordx"});
  vocabulary.merges.push_back({261, 'x', 262});
  formats::GgufMetadata metadata;
  std::vector<std::string> notes;
  EXPECT_THAT(testing::ErrorOf(AddTokenizer(vocabulary, 300, metadata, notes)),
              HasSubstr("cannot be written as two texts"));
}

}  // namespace
}  // namespace etch::exporting
