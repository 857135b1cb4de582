// Writers of tokenizers (export) and their readers (ingest) on published vocabularies: what a GGUF
// file or a Hugging Face directory says must become the same tokenizer again.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>

#include "export/gguf_tokenizer.h"
#include "export/huggingface_tokenizer.h"
#include "ingest/gguf_model.h"
#include "ingest/tokenizer_json.h"
#include "tokenizer/real_tokenizers.h"

namespace etch::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using text::Tokenizer;

struct Written {
  std::unique_ptr<Tokenizer> tokenizer;
  std::vector<std::string> notes;
  std::string pre;
};

Written ThroughGguf(const model::Vocabulary& vocabulary) {
  formats::GgufMetadata metadata;
  Written written;
  const Status status = exporting::AddTokenizer(
      vocabulary, static_cast<int64_t>(vocabulary.tokens.size()) + 3, metadata, written.notes);
  EXPECT_TRUE(status) << (status ? "" : status.error().message);
  written.tokenizer = MakeTokenizer(ingest::VocabularyFromMetadata(metadata));
  written.pre = metadata.String("tokenizer.ggml.pre").value().value_or("");
  return written;
}

Written ThroughHuggingFace(const model::Vocabulary& vocabulary) {
  Written written;
  const auto files = exporting::MakeTokenizerFiles(vocabulary, 2048);
  EXPECT_TRUE(files) << (files ? "" : files.error().message);
  written.notes = files->notes;
  written.tokenizer =
      MakeTokenizer(ingest::ReadTokenizerJson(files->tokenizer_json, files->tokenizer_config_json));
  return written;
}

void ExpectTheSame(const Tokenizer& expected, const Tokenizer& found,
                   const std::filesystem::path& root) {
  for (const VectorCase& sample : ReadVectors(root / "vectors/ggml-vocab-llama-bpe.gguf")) {
    EXPECT_EQ(expected.Encode(sample.text), found.Encode(sample.text)) << sample.text;
  }
  EXPECT_EQ(expected.vocabulary().bos, found.vocabulary().bos);
  EXPECT_EQ(expected.vocabulary().eos, found.vocabulary().eos);
  EXPECT_EQ(expected.vocabulary().end_of_generation, found.vocabulary().end_of_generation);
  for (model::TokenId id = 0; id < std::ssize(expected.vocabulary().tokens); ++id) {
    ASSERT_EQ(expected.TokenBytes(id, true), found.TokenBytes(id, true)) << id;
  }
}

TEST(WrittenTokenizer, SmolLm) {
  ETCH_DATA_OR_SKIP(root, "tokenizers");
  const auto expected = SmolLm(root);
  const Written gguf = ThroughGguf(expected->vocabulary());
  EXPECT_EQ(gguf.pre, "smollm");
  EXPECT_THAT(gguf.notes, IsEmpty());
  ExpectTheSame(*expected, *gguf.tokenizer, root);
  const Written files = ThroughHuggingFace(expected->vocabulary());
  EXPECT_THAT(files.notes, IsEmpty());
  ExpectTheSame(*expected, *files.tokenizer, root);
}

// tiktoken's ranks: merges are made for both.
TEST(WrittenTokenizer, Llama3FromRanks) {
  ETCH_DATA_OR_SKIP(root, "tokenizers");
  const auto expected = Llama3(root);
  const Written gguf = ThroughGguf(expected->vocabulary());
  EXPECT_EQ(gguf.pre, "llama-bpe");
  EXPECT_THAT(gguf.notes, IsEmpty());
  ExpectTheSame(*expected, *gguf.tokenizer, root);
  ExpectTheSame(*expected, *ThroughHuggingFace(expected->vocabulary()).tokenizer, root);
  // As many as the published tokenizer.json has.
  EXPECT_EQ(gguf.tokenizer->vocabulary().merges.size(), 280147U);
}

TEST(WrittenTokenizer, Llama2) {
  ETCH_DATA_OR_SKIP(root, "tokenizers");
  for (const auto& expected : {Llama2Model(root), Llama2Json(root), Llama2Bin(root)}) {
    const bool by_rank = expected->vocabulary().order == model::MergeOrder::kRanks;
    const Written gguf = ThroughGguf(expected->vocabulary());
    if (by_rank) {
      EXPECT_THAT(gguf.notes, ElementsAre(HasSubstr("ranks of merges became scores")));
    } else {
      EXPECT_THAT(gguf.notes, IsEmpty());
    }
    ExpectTheSame(*expected, *gguf.tokenizer, root);
    ExpectTheSame(*expected, *ThroughHuggingFace(expected->vocabulary()).tokenizer, root);
  }
}

TEST(WrittenTokenizer, VocabulariesOfLlamaCpp) {
  ETCH_DATA_OR_SKIP(root, "tokenizers");
  for (const char* name : {"gpt-2", "llama-spm", "phi-3"}) {
    const auto expected = FromGguf(root / "vectors" / fmt::format("ggml-vocab-{}.gguf", name));
    const Written gguf = ThroughGguf(expected->vocabulary());
    EXPECT_THAT(gguf.notes, IsEmpty()) << name;
    ExpectTheSame(*expected, *gguf.tokenizer, root);
    ExpectTheSame(*expected, *ThroughHuggingFace(expected->vocabulary()).tokenizer, root);
  }
}

}  // namespace
}  // namespace etch::test
