// Different files of one vocabulary give the same ids on whole texts, and those of other programs.

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "ingest/tokenizer_llama2c.h"
#include "tokenizer/real_tokenizers.h"

namespace etch::test {
namespace {

using text::TokenId;
using text::Tokenizer;

std::unique_ptr<Tokenizer> Stories(const std::filesystem::path& data) {
  const std::string bytes = ReadText(data / "models/tok512.bin");
  return MakeTokenizer(ingest::ReadLlama2cTokenizer(AsBytes(bytes), 512));
}

TEST(Agreement, Llama3FilesAgreeOnText) {
  ETCH_DATA_OR_SKIP(root, "tokenizers");
  ETCH_DATA_OR_SKIP(text_path, "text/wikitext-2-raw/wiki.test.raw");
  const std::string text = ReadText(text_path);
  const auto tiktoken = Llama3(root);
  const auto json = Llama32Json(root);
  EXPECT_EQ(Ids(*tiktoken, text), Ids(*json, text));
  ASSERT_EQ(tiktoken->vocabulary().tokens.size(), json->vocabulary().tokens.size());
  for (size_t id = 0; id < tiktoken->vocabulary().tokens.size(); ++id) {
    const model::Token& left = tiktoken->vocabulary().tokens[id];
    const model::Token& right = json->vocabulary().tokens[id];
    ASSERT_TRUE(left.text == right.text && left.type == right.type) << id << " " << left.text;
  }
  EXPECT_EQ(tiktoken->vocabulary().bos, json->vocabulary().bos);
  EXPECT_TRUE(json->vocabulary().add_bos);
  EXPECT_EQ(json->vocabulary().eos, json->Find("<|eot_id|>"));
  EXPECT_EQ(tiktoken->vocabulary().end_of_generation, json->vocabulary().end_of_generation);
}

TEST(Agreement, Llama2FilesAgreeOnText) {
  ETCH_DATA_OR_SKIP(root, "tokenizers");
  ETCH_DATA_OR_SKIP(text_path, "text/wikitext-2-raw/wiki.test.raw");
  const std::string text = ReadText(text_path);
  const std::vector<TokenId> expected = Ids(*Llama2Model(root), text);
  EXPECT_EQ(Ids(*Llama2Json(root), text), expected);
  EXPECT_EQ(Ids(*Llama2Bin(root), text), expected);
  EXPECT_EQ(Ids(*FromGguf(root / "vectors/ggml-vocab-llama-spm.gguf"), text), expected);
}

// MANIFEST.md of the data gives the ids that run.c samples for this text.
TEST(Agreement, StoriesEncodeAsInLlama2c) {
  ETCH_DATA_OR_SKIP(text_path, "models/golden/stories260K_greedy_200.txt");
  const auto tokenizer = Stories(DataFolder());
  const std::string text = ReadText(text_path);
  const std::vector<TokenId> ids = tokenizer->Encode(text);
  const std::vector<TokenId> expected = {1,   403, 407, 261, 378, 432, 383, 286,
                                         261, 376, 298, 315, 421, 395, 317, 426};
  ASSERT_GE(ids.size(), expected.size());
  EXPECT_EQ(std::vector<TokenId>(ids.begin(), ids.begin() + 16), expected);
  EXPECT_EQ(tokenizer->Decode(ids), text);
  EXPECT_EQ(Ids(*FromGguf(DataFolder() / "models/stories260K.gguf"), text), Ids(*tokenizer, text));
}

// The manifest's nll file was computed with llama2.c: 64 chunks of the text, cut at line feeds.
TEST(Agreement, StoriesCountTokensAsLlama2c) {
  ETCH_DATA_OR_SKIP(counts_path, "models/golden/stories260K_nll.json");
  const auto tokenizer = Stories(DataFolder());
  const std::string text = ReadText(DataFolder() / "text/tinystories_sample.txt");
  const nlohmann::json counts = nlohmann::json::parse(ReadText(counts_path));
  size_t position = 0;
  for (const auto& story : counts["stories"]) {
    const auto size = story["bytes"].get<size_t>();
    const std::string chunk = text.substr(position, size);
    position += size;
    EXPECT_EQ(tokenizer->Encode(chunk).size(), story["tokens"].get<size_t>()) << chunk;
  }
}

// Counts and FNV-1a hashes of the ids come from a separate program: Python's `regex` for the
// patterns and the textbook's quadratic merging, run on the same tokenizer.json.
TEST(Agreement, SmolLmEncodesAsTheTextbook) {
  ETCH_DATA_OR_SKIP(root, "tokenizers");
  ETCH_DATA_OR_SKIP(texts, "text");
  const auto tokenizer = SmolLm(root);
  const auto hash = [](const std::vector<TokenId>& ids) {
    uint64_t value = 0xcbf29ce484222325;
    for (const TokenId id : ids) {
      value = (value ^ static_cast<uint64_t>(id)) * 0x100000001b3;
    }
    return value;
  };
  const std::vector<TokenId> wiki =
      Ids(*tokenizer, ReadText(texts / "wikitext-2-raw/wiki.test.raw"));
  EXPECT_EQ(wiki.size(), 303415U);
  EXPECT_EQ(hash(wiki), 0xb70511543af7c998U);
  const std::vector<TokenId> plays = Ids(*tokenizer, ReadText(texts / "tinyshakespeare.txt"));
  EXPECT_EQ(plays.size(), 341094U);
  EXPECT_EQ(hash(plays), 0x932b45fd22341f88U);
  EXPECT_EQ(Ids(*tokenizer, "Hello, World! 2024 isn't  over\n\n  \"x\" ½ ²"),
            (std::vector<TokenId>{19556, 28,  2260, 17,  216, 34, 32,  34,    36,  3247, 982,
                                  216,   690, 8866, 476, 104, 18, 216, 16738, 216, 19133}));
  EXPECT_EQ(Ids(*tokenizer, "日本語 and emoji 🦙\tok"),
            (std::vector<TokenId>{23274, 115, 40993, 179, 120, 248, 284, 649, 33777, 15107, 116,
                                  243, 197, 2231}));
}

TEST(Agreement, SpecialTokensOfUsersStayText) {
  ETCH_DATA_OR_SKIP(root, "tokenizers");
  const std::string text = "a<|eot_id|><|im_end|></s><s>b";
  for (const auto& tokenizer : {Llama3(root), SmolLm(root), Llama2Model(root)}) {
    for (const TokenId id : Ids(*tokenizer, text)) {
      const auto& token = tokenizer->vocabulary().tokens[static_cast<size_t>(id)];
      EXPECT_NE(token.type, model::TokenType::kControl) << token.text;
    }
    EXPECT_EQ(tokenizer->Decode(Ids(*tokenizer, text)), text);
  }
  const auto llama3 = Llama3(root);
  EXPECT_EQ(llama3->Encode("a<|eot_id|>", {.parse_special = true}),
            (std::vector<TokenId>{128000, 64, 128009}));
}

}  // namespace
}  // namespace etch::test
