#include "tokenizer/real_tokenizers.h"

#include <nlohmann/json.hpp>
#include <sstream>

#include "base/file.h"
#include "formats/gguf.h"
#include "ingest/gguf_model.h"
#include "ingest/tokenizer_json.h"
#include "ingest/tokenizer_llama2c.h"
#include "ingest/tokenizer_sentencepiece.h"
#include "ingest/tokenizer_tiktoken.h"

namespace etch::test {

using nlohmann::json;
using text::TokenId;
using text::Tokenizer;

namespace {

constexpr int64_t kLlama2Tokens = 32000;

}  // namespace

std::string ReadText(const std::filesystem::path& path) {
  Result<std::string> text = ReadSmallFile(path);
  EXPECT_TRUE(text.has_value()) << (text ? "" : text.error().message);
  return text.value_or("");
}

std::vector<VectorCase> ReadVectors(const std::filesystem::path& stem) {
  constexpr std::string_view kSeparator = "\n__ggml_vocab_test__\n";
  std::string inputs = ReadText(stem.string() + ".inp");
  std::istringstream outputs(ReadText(stem.string() + ".out"));
  std::vector<VectorCase> cases;
  std::string line;
  while (std::getline(outputs, line)) {
    VectorCase next;
    const size_t end = inputs.find(kSeparator);
    next.text = inputs.substr(0, end);
    inputs.erase(0, end == std::string::npos ? inputs.size() : end + kSeparator.size());
    std::istringstream numbers(line);
    for (TokenId id = 0; numbers >> id;) {
      next.ids.push_back(id);
    }
    cases.push_back(std::move(next));
  }
  EXPECT_EQ(cases.size(), 46U) << stem;
  return cases;
}

std::unique_ptr<Tokenizer> MakeTokenizer(Result<model::Vocabulary> vocabulary) {
  EXPECT_TRUE(vocabulary.has_value()) << (vocabulary ? "" : vocabulary.error().message);
  model::Vocabulary fallback;
  fallback.tokens.resize(1);
  auto tokenizer = Tokenizer::Create(vocabulary ? *std::move(vocabulary) : std::move(fallback));
  EXPECT_TRUE(tokenizer.has_value()) << (tokenizer ? "" : tokenizer.error().message);
  return *std::move(tokenizer);
}

std::unique_ptr<Tokenizer> FromGguf(const std::filesystem::path& path) {
  const auto file = formats::GgufFile::Open(path);
  EXPECT_TRUE(file.has_value()) << (file ? "" : file.error().message);
  return MakeTokenizer(ingest::VocabularyFromMetadata(file->metadata()));
}

std::unique_ptr<Tokenizer> Llama3(const std::filesystem::path& root) {
  return MakeTokenizer(ingest::ReadTiktoken(ReadText(root / "llama3/tokenizer.model")));
}

std::unique_ptr<Tokenizer> SmolLm(const std::filesystem::path& root) {
  return MakeTokenizer(ingest::ReadTokenizerJson(ReadText(root / "smollm/tokenizer.json"),
                                                 ReadText(root / "smollm/tokenizer_config.json")));
}

std::unique_ptr<Tokenizer> Llama2Json(const std::filesystem::path& root) {
  return MakeTokenizer(ingest::ReadTokenizerJson(ReadText(root / "llama2/tokenizer.json"), ""));
}

std::unique_ptr<Tokenizer> Llama2Model(const std::filesystem::path& root) {
  const std::string bytes = ReadText(root / "llama2/tokenizer.model");
  return MakeTokenizer(ingest::ReadSentencePieceModel(AsBytes(bytes)));
}

std::unique_ptr<Tokenizer> Llama2Bin(const std::filesystem::path& root) {
  const std::string bytes = ReadText(root / "llama2/tokenizer.bin");
  return MakeTokenizer(ingest::ReadLlama2cTokenizer(AsBytes(bytes), kLlama2Tokens));
}

std::unique_ptr<Tokenizer> Llama32Json(const std::filesystem::path& root) {
  const std::string config = ReadText(root / "llama3.2/tokenizer_config.json");
  const json decoder = json::parse(config)["added_tokens_decoder"];
  json added = json::array();
  for (const auto& [id, token] : decoder.items()) {
    json entry = token;
    entry["id"] = std::stoul(id);
    added.push_back(entry);
  }
  json merges = json::array();
  std::istringstream lines(ReadText(root / "llama3.2/vocab.bpe"));
  for (std::string line; std::getline(lines, line);) {
    if (!line.empty() && !line.starts_with("#version")) {
      merges.push_back(line);
    }
  }
  const json split = {
      {"type", "Split"},
      {"behavior", "Isolated"},
      {"invert", false},
      {"pattern",
       {{"Regex", R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|)"
                  R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"}}}};
  const json byte_level = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
  const json begin = {{"SpecialToken", {{"id", "<|begin_of_text|>"}, {"type_id", 0}}}};
  const json sequence = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  const json root_object = {
      {"added_tokens", added},
      {"normalizer", nullptr},
      {"pre_tokenizer",
       {{"type", "Sequence"}, {"pretokenizers", json::array({split, byte_level})}}},
      {"post_processor",
       {{"type", "Sequence"},
        {"processors", json::array({byte_level,
                                    {{"type", "TemplateProcessing"},
                                     {"single", json::array({begin, sequence})}}})}}},
      {"decoder", byte_level},
      {"model",
       {{"type", "BPE"},
        {"ignore_merges", true},
        {"vocab", json::parse(ReadText(root / "llama3.2/encoder.json"))},
        {"merges", merges}}}};
  return MakeTokenizer(ingest::ReadTokenizerJson(root_object.dump(), config));
}

std::vector<TokenId> Ids(const Tokenizer& tokenizer, std::string_view text) {
  return tokenizer.Encode(text, {.add_special = false});
}

}  // namespace etch::test
