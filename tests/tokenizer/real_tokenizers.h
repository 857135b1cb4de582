#pragma once

// The published tokenizers and test vectors that the tests here read.

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "support/data.h"
#include "text/tokenizer.h"

namespace etch::test {

// A case of llama.cpp's vectors: a text and its ids, without bos.
struct VectorCase {
  std::string text;
  std::vector<text::TokenId> ids;
};

// "x.gguf.inp" and "x.gguf.out".
std::vector<VectorCase> ReadVectors(const std::filesystem::path& stem);

// The whole file; fails the test when it cannot be read.
std::string ReadText(const std::filesystem::path& path);

// The tokenizer of a vocabulary or a failed test; never null.
std::unique_ptr<text::Tokenizer> MakeTokenizer(Result<model::Vocabulary> vocabulary);

// By kind of file, with `root` the folder "tokenizers" of the data.
std::unique_ptr<text::Tokenizer> FromGguf(const std::filesystem::path& path);
std::unique_ptr<text::Tokenizer> Llama3(const std::filesystem::path& root);
std::unique_ptr<text::Tokenizer> SmolLm(const std::filesystem::path& root);
std::unique_ptr<text::Tokenizer> Llama2Json(const std::filesystem::path& root);
std::unique_ptr<text::Tokenizer> Llama2Model(const std::filesystem::path& root);
std::unique_ptr<text::Tokenizer> Llama2Bin(const std::filesystem::path& root);
// Llama 3.2's tokenizer.json, put together again from its vocabulary, merges and special tokens.
std::unique_ptr<text::Tokenizer> Llama32Json(const std::filesystem::path& root);

// Text only: no bos, no special tokens.
std::vector<text::TokenId> Ids(const text::Tokenizer& tokenizer, std::string_view text);

}  // namespace etch::test
