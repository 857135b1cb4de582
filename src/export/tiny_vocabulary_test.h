#pragma once

// Small vocabularies of each kind, images of equal weights, and what else the tests here share.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/error.h"
#include "export/merged_weights.h"
#include "image/writer.h"
#include "ingest/tokenizer_parts.h"
#include "model/vocabulary.h"

namespace etch::exporting::testing {

// The error of a Result, "" when it has none.
template <class T>
std::string ErrorOf(const Result<T>& result) {
  return result ? ""
                : std::string(ErrorCodeName(result.error().code)) + ": " + result.error().message;
}

// 256 bytes, "he", "ll", "hell", " w", <|end|> and a word that plain text may hold.
inline model::Vocabulary ByteLevelVocabulary() {
  model::Vocabulary vocabulary;
  for (int byte = 0; byte < 256; ++byte) {
    vocabulary.tokens.push_back({.text = std::string(1, static_cast<char>(byte))});
  }
  for (const char* text : {"he", "ll", "hell", " w"}) {
    vocabulary.tokens.push_back({.text = text});
  }
  vocabulary.tokens.push_back({.text = "<|im_end|>", .type = model::TokenType::kControl});
  vocabulary.tokens.push_back({.text = "a word", .type = model::TokenType::kUserDefined});
  vocabulary.merges = {{'h', 'e', 256}, {'l', 'l', 257}, {256, 257, 258}, {' ', 'w', 259}};
  vocabulary.split_patterns = {std::string(ingest::kGpt2Pattern)};
  vocabulary.eos = 260;
  vocabulary.end_of_generation = {260};
  vocabulary.chat_template = "{{ messages[0].content }}";
  return vocabulary;
}

// <unk>, <s>, </s>, 256 byte tokens, "▁", letters and some words with scores.
inline model::Vocabulary SentencePieceVocabulary() {
  model::Vocabulary vocabulary;
  vocabulary.kind = model::TokenizerKind::kSentencePiece;
  vocabulary.order = model::MergeOrder::kScores;
  vocabulary.tokens = {{.text = "<unk>", .type = model::TokenType::kUnknown},
                       {.text = "<s>", .type = model::TokenType::kControl},
                       {.text = "</s>", .type = model::TokenType::kControl}};
  for (int byte = 0; byte < 256; ++byte) {
    vocabulary.tokens.push_back(
        {.text = fmt::format("<0x{:02X}>", byte), .type = model::TokenType::kByte});
  }
  float score = 0.0F;
  for (const char* text : {"\xE2\x96\x81", "h", "e", "l", "o", "he", "ll", "hell", "hello",
                           "\xE2\x96\x81hello", "\xE2\x96\x81h"}) {
    vocabulary.tokens.push_back({.text = text, .score = score});
    score -= 1.0F;
  }
  vocabulary.unknown = 0;
  vocabulary.bos = 1;
  vocabulary.eos = 2;
  vocabulary.end_of_generation = {2};
  vocabulary.add_bos = true;
  vocabulary.add_prefix_space = true;
  vocabulary.prefix_space_first_only = false;
  vocabulary.byte_fallback = true;
  return vocabulary;
}

// A source image whose tensors hold one value each.
template <class ValueOf>
image::Image FlatImage(const std::filesystem::path& path, const model::Config& config,
                       const model::Vocabulary& vocabulary, const ValueOf& value_of) {
  image::ImageHeader header;
  header.name = "flat";
  header.config = config;
  header.vocabulary = vocabulary;
  header.is_source = true;
  auto writer = image::ImageWriter::Create(path, header);
  EXPECT_EQ(ErrorOf(writer), "");
  for (const TensorId& id : TensorsOf(config)) {
    const std::vector<float> values(static_cast<size_t>(model::TensorShape(config, id.role).size()),
                                    value_of(id.role));
    EXPECT_EQ(ErrorOf(model::IsNorm(id.role)
                          ? writer->AddNorm(id.role, id.layer, values)
                          : writer->AddMatrix(id.role, id.layer, numerics::WeightFormat::kF32,
                                              std::as_bytes(std::span(values)))),
              "");
  }
  EXPECT_EQ(ErrorOf(writer->Finish("{}", "{}")), "");
  return image::Image::Open(path).value();
}

}  // namespace etch::exporting::testing
