#include "ingest/tokenizer_json.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "ingest/tokenizer_parts.h"

namespace etch::ingest {
namespace {

using model::kNoToken;
using model::TokenType;
using model::Vocabulary;
using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

json ByteLevelJson() {
  return json::parse(R"({
    "added_tokens": [
      {"id": 4, "content": "<|im_end|>", "special": true},
      {"id": 6, "content": "<sep>", "special": false, "lstrip": true, "rstrip": true}],
    "normalizer": {"type": "NFC"},
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
      {"type": "Digits", "individual_digits": true},
      {"type": "Split", "pattern": {"Regex": "\\s+"}, "behavior": "Isolated"},
      {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true}]},
    "post_processor": null,
    "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "vocab": {"a": 0, "\u0120": 1, "\u0120a": 2, "\u0120aa": 3},
              "merges": ["\u0120 a", ["\u0120a", "a"]]}})");
}

json SentencePieceJson() {
  json root = json::parse(R"({
    "added_tokens": [{"id": 0, "content": "<unk>", "special": true},
                     {"id": 1, "content": "<s>", "special": true},
                     {"id": 2, "content": "</s>", "special": true}],
    "normalizer": {"type": "Sequence", "normalizers": [
      {"type": "Prepend", "prepend": "▁"},
      {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
    "pre_tokenizer": null,
    "post_processor": {"type": "TemplateProcessing", "single": [
      {"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}},
      {"SpecialToken": {"id": "</s>"}}]},
    "model": {"type": "BPE", "unk_token": "<unk>", "byte_fallback": true,
              "vocab": {"<unk>": 0, "<s>": 1, "</s>": 2, "▁": 259, "a": 260, "▁a": 261},
              "merges": ["▁ a"]}})");
  for (int byte = 0; byte < 256; ++byte) {
    root["model"]["vocab"][fmt::format("<0x{:02X}>", byte)] = byte + 3;
  }
  return root;
}

Vocabulary Read(const json& root, std::string_view config = "") {
  const auto vocabulary = ReadTokenizerJson(root.dump(), config);
  EXPECT_TRUE(vocabulary.has_value()) << (vocabulary ? "" : vocabulary.error().message);
  return vocabulary.value_or(Vocabulary());
}

std::string Failure(const json& root, std::string_view config = "") {
  const auto vocabulary = ReadTokenizerJson(root.dump(), config);
  EXPECT_FALSE(vocabulary.has_value());
  return vocabulary ? "" : vocabulary.error().message;
}

// The failure after `pointer` of `root` was set to `value`, both as JSON text.
std::string FailureWith(json root, const char* pointer, const char* value) {
  root[json::json_pointer(pointer)] = json::parse(value);
  return Failure(root);
}

TEST(TokenizerJson, ByteLevel) {
  const Vocabulary vocabulary =
      Read(ByteLevelJson(), R"({"eos_token": {"content": "<|im_end|>"}, "bos_token": "<sep>"})");
  EXPECT_EQ(vocabulary.kind, model::TokenizerKind::kByteLevelBpe);
  ASSERT_EQ(vocabulary.tokens.size(), 7U);
  EXPECT_EQ(vocabulary.tokens[3].text, " aa");
  EXPECT_EQ(vocabulary.tokens[4].type, TokenType::kControl);
  EXPECT_EQ(vocabulary.tokens[5].type, TokenType::kUnused);
  EXPECT_EQ(vocabulary.tokens[6].type, TokenType::kUserDefined);
  EXPECT_TRUE(vocabulary.tokens[6].lstrip && vocabulary.tokens[6].rstrip);
  ASSERT_EQ(vocabulary.merges.size(), 2U);
  EXPECT_EQ(vocabulary.merges[1].left, 2);
  EXPECT_EQ(vocabulary.merges[1].result, 3);
  EXPECT_TRUE(vocabulary.split_digits);
  EXPECT_THAT(vocabulary.split_patterns, ElementsAre("\\s+", kGpt2Pattern));
  EXPECT_EQ(vocabulary.bos, 6);
  EXPECT_EQ(vocabulary.eos, 4);
  EXPECT_FALSE(vocabulary.add_bos || vocabulary.add_prefix_space);
  EXPECT_THAT(vocabulary.end_of_generation, ElementsAre(4));
}

TEST(TokenizerJson, SentencePieceLike) {
  const Vocabulary vocabulary = Read(SentencePieceJson());
  EXPECT_EQ(vocabulary.kind, model::TokenizerKind::kSentencePiece);
  EXPECT_TRUE(vocabulary.byte_fallback && vocabulary.add_prefix_space);
  EXPECT_FALSE(vocabulary.prefix_space_first_only);
  EXPECT_TRUE(vocabulary.add_bos && vocabulary.add_eos);
  EXPECT_EQ(vocabulary.bos, 1);
  EXPECT_EQ(vocabulary.eos, 2);
  EXPECT_EQ(vocabulary.unknown, 0);
  EXPECT_EQ(vocabulary.tokens[0].type, TokenType::kUnknown);
  EXPECT_EQ(vocabulary.tokens[3].type, TokenType::kByte);
  EXPECT_EQ(vocabulary.tokens[261].text, "▁a");
}

TEST(TokenizerJson, ByteFallbackNeedsAllBytes) {
  json root = SentencePieceJson();
  root["model"]["vocab"].erase("<0x41>");
  EXPECT_FALSE(Read(root).byte_fallback);
}

TEST(TokenizerJson, Metaspace) {
  json root = SentencePieceJson();
  root["normalizer"] = nullptr;
  root["pre_tokenizer"] = {
      {"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", "first"}, {"split", false}};
  Vocabulary vocabulary = Read(root);
  EXPECT_TRUE(vocabulary.add_prefix_space && vocabulary.prefix_space_first_only &&
              vocabulary.prefix_space_unless_space);
  EXPECT_TRUE(vocabulary.split_patterns.empty());
  root["pre_tokenizer"] = {
      {"type", "Metaspace"}, {"replacement", "▁"}, {"add_prefix_space", false}};
  vocabulary = Read(root);
  EXPECT_FALSE(vocabulary.add_prefix_space);
  EXPECT_THAT(vocabulary.split_patterns, ElementsAre("▁[^▁]*|[^▁]+"));
}

TEST(TokenizerJson, FlagsOfConfigCountWithoutTemplate) {
  json root = SentencePieceJson();
  root["post_processor"] = nullptr;
  const Vocabulary vocabulary =
      Read(root, R"({"bos_token": "<s>", "add_bos_token": true, "pad_token": "</s>"})");
  EXPECT_TRUE(vocabulary.add_bos);
  EXPECT_FALSE(vocabulary.add_eos);
  EXPECT_EQ(vocabulary.padding, 2);
  EXPECT_EQ(vocabulary.eos, 2);  // by its usual name
  EXPECT_EQ(Read(root).bos, kNoToken);
}

TEST(TokenizerJson, OtherPreTokenizers) {
  json root = ByteLevelJson();
  root["pre_tokenizer"] = {{"type", "ByteLevel"}, {"use_regex", false}};
  Vocabulary vocabulary = Read(root);
  EXPECT_TRUE(vocabulary.add_prefix_space && vocabulary.prefix_space_unless_space);
  EXPECT_TRUE(vocabulary.split_patterns.empty());
  root["pre_tokenizer"] = json::parse(R"({"type": "Sequence", "pretokenizers": [
    {"type": "Split", "pattern": {"String": "."}, "behavior": "Isolated"},
    {"type": "Digits", "individual_digits": true}, {"type": "Digits"}]})");
  vocabulary = Read(root);
  EXPECT_FALSE(vocabulary.split_digits);
  EXPECT_THAT(vocabulary.split_patterns, ElementsAre("\\Q.\\E", "\\p{N}", "\\p{N}+"));
}

TEST(TokenizerJson, RefusesWhatItCannotExpress) {
  const json root = ByteLevelJson();
  EXPECT_THAT(FailureWith(root, "/model/type", R"("Unigram")"),
              HasSubstr("model of type \"Unigram\"; Etch reads BPE"));
  EXPECT_THAT(FailureWith(root, "/model/dropout", "0.1"), HasSubstr("\"dropout\" is not supp"));
  EXPECT_THAT(FailureWith(root, "/model/end_of_word_suffix", R"("</w>")"),
              HasSubstr("\"end_of_word_suffix\" is not supported"));
  EXPECT_THAT(FailureWith(root, "/normalizer/type", R"("Lowercase")"),
              HasSubstr("normalizer \"Lowercase\" is not supported"));
  EXPECT_THAT(FailureWith(root, "/pre_tokenizer/pretokenizers/0/type", R"("Whitespace")"),
              HasSubstr("pre_tokenizer \"Whitespace\" is not supported"));
  EXPECT_THAT(FailureWith(root, "/pre_tokenizer/pretokenizers/0/type", R"("Metaspace")"),
              HasSubstr("pre_tokenizer \"Metaspace\" is not supported"));
  EXPECT_THAT(FailureWith(root, "/pre_tokenizer/pretokenizers/1/behavior", R"("Removed")"),
              HasSubstr("Split with behavior \"Removed\" is not supported"));
  EXPECT_THAT(FailureWith(root, "/pre_tokenizer/pretokenizers/2/add_prefix_space", "true"),
              HasSubstr("ByteLevel with add_prefix_space behind another"));
  EXPECT_THAT(FailureWith(root, "/post_processor", R"({"type": "BertProcessing"})"),
              HasSubstr("post_processor \"BertProcessing\" is not supported"));
  EXPECT_THAT(
      FailureWith(SentencePieceJson(), "/post_processor/single/0/SpecialToken/id", R"("[CLS]")"),
      HasSubstr("TemplateProcessing with special token \"[CLS]\""));
  EXPECT_THAT(FailureWith(root, "/added_tokens/0/single_word", "true"),
              HasSubstr("single_word of added token \"<|im_end|>\""));
}

TEST(TokenizerJson, RefusesWhatContradictsItself) {
  const json root = ByteLevelJson();
  EXPECT_EQ(Failure(json::array()), "tokenizer.json is no JSON object");
  EXPECT_EQ(Failure(root, "{"), "tokenizer_config.json is no JSON object");
  EXPECT_THAT(FailureWith(root, "/model/vocab", "[]"), HasSubstr("vocab is missing or empty"));
  EXPECT_THAT(FailureWith(root, "/model/merges", "{}"), HasSubstr("merges is missing"));
  EXPECT_THAT(FailureWith(root, "/model/merges/0", R"("aa")"),
              HasSubstr("merge \"aa\" is not two tokens with a space between"));
  EXPECT_THAT(FailureWith(root, "/model/merges/0", R"("a b")"),
              HasSubstr("merge \"a b\": \"b\" is no token"));
  EXPECT_THAT(FailureWith(root, "/model/merges/1", "1"),
              HasSubstr("merge 1 is neither text nor a pair"));
  EXPECT_THAT(FailureWith(root, "/model/vocab/a", "1000000000"),
              HasSubstr("token \"a\" has no valid id"));
  EXPECT_THAT(FailureWith(root, "/added_tokens/0/id", "-1"),
              HasSubstr("token \"<|im_end|>\" has no valid id"));
  EXPECT_THAT(FailureWith(root, "/added_tokens/0/content", R"("")"),
              HasSubstr("an added token has no content"));
  EXPECT_THAT(FailureWith(root, "/added_tokens", "3"), HasSubstr("added_tokens is no list"));
  EXPECT_THAT(FailureWith(root, "/pre_tokenizer/pretokenizers/1/pattern", "{}"),
              HasSubstr("Split has no pattern"));
  EXPECT_THAT(FailureWith(root, "/normalizer", "7"),
              HasSubstr("normalizers are nested too deeply or no objects"));
}

}  // namespace
}  // namespace etch::ingest
