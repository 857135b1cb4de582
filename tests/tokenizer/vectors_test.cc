// llama.cpp's vectors, 46 texts with their ids, against every source of the same vocabulary.

#include <gmock/gmock.h>

#include "tokenizer/real_tokenizers.h"

namespace etch::test {
namespace {

using text::Tokenizer;

void ExpectVectors(const Tokenizer& tokenizer, const std::filesystem::path& stem) {
  for (const VectorCase& expected : ReadVectors(stem)) {
    EXPECT_EQ(Ids(tokenizer, expected.text), expected.ids) << "text: " << expected.text;
  }
}

TEST(Vectors, Llama3FromTiktoken) {
  ETCH_DATA_OR_SKIP(root, "tokenizers");
  ExpectVectors(*Llama3(root), root / "vectors/ggml-vocab-llama-bpe.gguf");
}

TEST(Vectors, Llama3FromTokenizerJson) {
  ETCH_DATA_OR_SKIP(root, "tokenizers");
  ExpectVectors(*Llama32Json(root), root / "vectors/ggml-vocab-llama-bpe.gguf");
}

TEST(Vectors, Llama2FromGguf) {
  ETCH_DATA_OR_SKIP(root, "tokenizers");
  const auto tokenizer = FromGguf(root / "vectors/ggml-vocab-llama-spm.gguf");
  ExpectVectors(*tokenizer, root / "vectors/ggml-vocab-llama-spm.gguf");
}

TEST(Vectors, Llama2FromSentencePiece) {
  ETCH_DATA_OR_SKIP(root, "tokenizers");
  ExpectVectors(*Llama2Model(root), root / "vectors/ggml-vocab-llama-spm.gguf");
}

TEST(Vectors, Llama2FromTokenizerJson) {
  ETCH_DATA_OR_SKIP(root, "tokenizers");
  ExpectVectors(*Llama2Json(root), root / "vectors/ggml-vocab-llama-spm.gguf");
}

TEST(Vectors, Llama2FromTokenizerBin) {
  ETCH_DATA_OR_SKIP(root, "tokenizers");
  ExpectVectors(*Llama2Bin(root), root / "vectors/ggml-vocab-llama-spm.gguf");
}

TEST(Vectors, Gpt2FromGguf) {
  ETCH_DATA_OR_SKIP(root, "tokenizers");
  const auto tokenizer = FromGguf(root / "vectors/ggml-vocab-gpt-2.gguf");
  ExpectVectors(*tokenizer, root / "vectors/ggml-vocab-gpt-2.gguf");
}

TEST(Vectors, Phi3FromGguf) {
  ETCH_DATA_OR_SKIP(root, "tokenizers");
  const auto tokenizer = FromGguf(root / "vectors/ggml-vocab-phi-3.gguf");
  ExpectVectors(*tokenizer, root / "vectors/ggml-vocab-phi-3.gguf");
}

}  // namespace
}  // namespace etch::test
