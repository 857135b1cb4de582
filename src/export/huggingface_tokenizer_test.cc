#include "export/huggingface_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "export/parity.h"
#include "export/tiny_vocabulary_test.h"
#include "ingest/tokenizer_json.h"

namespace etch::exporting {
namespace {

using model::TokenType;
using model::Vocabulary;
using testing::ByteLevelVocabulary;
using ::testing::ElementsAre;
using testing::ErrorOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::SentencePieceVocabulary;

Vocabulary ReadBack(const Vocabulary& vocabulary) {
  const auto files = MakeTokenizerFiles(vocabulary, 128);
  EXPECT_EQ(ErrorOf(files), "");
  auto read = ingest::ReadTokenizerJson(files->tokenizer_json, files->tokenizer_config_json);
  EXPECT_EQ(ErrorOf(read), "");
  return read.value_or(Vocabulary());
}

TEST(HuggingFaceTokenizer, ByteLevelReadsBack) {
  Vocabulary vocabulary = ByteLevelVocabulary();
  vocabulary.tokens[260].rstrip = true;
  vocabulary.padding = 260;
  for (const bool digits : {false, true}) {
    vocabulary.split_digits = digits;
    const Vocabulary read = ReadBack(vocabulary);
    EXPECT_THAT(TokenizerDifferences(vocabulary, read), IsEmpty());
    EXPECT_EQ(read.split_patterns, vocabulary.split_patterns);
    EXPECT_EQ(read.split_digits, digits);
    EXPECT_EQ(read.merges.size(), vocabulary.merges.size());
    EXPECT_EQ(read.tokens[260].type, TokenType::kControl);
    EXPECT_TRUE(read.tokens[260].rstrip);
    EXPECT_EQ(read.tokens[261].type, TokenType::kUserDefined);
    EXPECT_EQ(read.eos, 260);
    EXPECT_EQ(read.padding, 260);
  }
}

TEST(HuggingFaceTokenizer, PatternsAndSpecialTokensReadBack) {
  Vocabulary vocabulary = ByteLevelVocabulary();
  vocabulary.split_patterns = {std::string(ingest::kLlama3Pattern)};
  vocabulary.ignore_merges = true;
  vocabulary.bos = 260;
  vocabulary.add_bos = true;
  vocabulary.add_eos = true;
  Vocabulary read = ReadBack(vocabulary);
  EXPECT_THAT(TokenizerDifferences(vocabulary, read), IsEmpty());
  EXPECT_TRUE(read.ignore_merges && read.add_bos && read.add_eos);
  vocabulary.split_patterns = {R"(\Qa.b\E)", R"(\d+)", std::string(ingest::kGpt2Pattern)};
  EXPECT_EQ(ReadBack(vocabulary).split_patterns, vocabulary.split_patterns);
  vocabulary.split_patterns = {std::string(ingest::kGpt2Pattern)};
  vocabulary.add_prefix_space = true;
  EXPECT_TRUE(ReadBack(vocabulary).add_prefix_space);
}

TEST(HuggingFaceTokenizer, SentencePieceReadsBack) {
  Vocabulary vocabulary = SentencePieceVocabulary();
  Vocabulary read = ReadBack(vocabulary);
  EXPECT_THAT(TokenizerDifferences(vocabulary, read), IsEmpty());
  EXPECT_EQ(read.order, model::MergeOrder::kRanks);
  EXPECT_EQ(read.unknown, 0);
  EXPECT_TRUE(read.byte_fallback && read.add_bos);
  vocabulary.prefix_space_first_only = true;
  vocabulary.prefix_space_unless_space = true;
  read = ReadBack(vocabulary);
  EXPECT_THAT(TokenizerDifferences(vocabulary, read), IsEmpty());
  EXPECT_TRUE(read.prefix_space_first_only);
  vocabulary.add_prefix_space = false;
  EXPECT_FALSE(ReadBack(vocabulary).add_prefix_space);
}

TEST(HuggingFaceTokenizer, ConfigurationHasTemplateAndSpecialTokens) {
  Vocabulary vocabulary = ByteLevelVocabulary();
  const auto files = MakeTokenizerFiles(vocabulary, 128).value();
  const auto config = nlohmann::json::parse(files.tokenizer_config_json);
  EXPECT_EQ(config["chat_template"], vocabulary.chat_template);
  EXPECT_EQ(config["eos_token"], "<|im_end|>");
  EXPECT_EQ(config["model_max_length"], 128);
  EXPECT_FALSE(config.contains("bos_token"));
  EXPECT_EQ(nlohmann::json::parse(files.special_tokens_map_json).size(), 1U);
  EXPECT_EQ(files.chat_template, vocabulary.chat_template);
  // Holes among the ids stay holes.
  vocabulary.tokens.push_back({.text = "", .type = TokenType::kUnused});
  vocabulary.tokens.push_back({.text = "hew"});
  EXPECT_EQ(ReadBack(vocabulary).tokens[263].text, "hew");
}

TEST(HuggingFaceTokenizer, WhatTheFilesCannotSayIsSaid) {
  Vocabulary vocabulary = SentencePieceVocabulary();
  vocabulary.remove_extra_spaces = true;
  vocabulary.prefix_space_first_only = true;
  vocabulary.byte_fallback = false;
  EXPECT_THAT(MakeTokenizerFiles(vocabulary, 1)->notes,
              ElementsAre(HasSubstr("keeps spaces in a row"), HasSubstr("begins with one"),
                          HasSubstr("byte tokens without fallback")));
}

TEST(HuggingFaceTokenizer, RefusesWhatHasNoPlace) {
  Vocabulary vocabulary = ByteLevelVocabulary();
  vocabulary.tokens.push_back({.text = "<|im_end|>", .type = TokenType::kControl});
  EXPECT_EQ(ErrorOf(MakeTokenizerFiles(vocabulary, 1)),
            "unsupported: tokens 260 and 262 are both \"<|im_end|>\"; tokenizer.json cannot hold "
            "two of one text");
  vocabulary.tokens.back() = {.text = "", .type = TokenType::kControl};
  EXPECT_EQ(ErrorOf(MakeTokenizerFiles(vocabulary, 1)),
            "unsupported: token 262 has no text; tokenizer.json cannot hold it");
  vocabulary.tokens.back() = {.text = "\xFF", .type = TokenType::kControl};
  EXPECT_THAT(ErrorOf(MakeTokenizerFiles(vocabulary, 1)),
              HasSubstr("unsupported: the tokenizer holds text that is no UTF-8: "));
  vocabulary = ByteLevelVocabulary();
  vocabulary.add_prefix_space = true;
  vocabulary.split_digits = true;
  EXPECT_THAT(ErrorOf(MakeTokenizerFiles(vocabulary, 1)),
              HasSubstr("unsupported: a byte-level tokenizer that puts a space in front"));
}

}  // namespace
}  // namespace etch::exporting
