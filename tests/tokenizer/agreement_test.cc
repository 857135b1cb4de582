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

}  // namespace
}  // namespace etch::test
