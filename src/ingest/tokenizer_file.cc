#include "ingest/tokenizer_file.h"

#include <string>

#include "base/file.h"
#include "ingest/tokenizer_json.h"
#include "ingest/tokenizer_llama2c.h"
#include "ingest/tokenizer_sentencepiece.h"
#include "ingest/tokenizer_tiktoken.h"

namespace etch::ingest {
namespace {

// llama2.c's begins with the length of the longest token, which is below 2^16: bytes 2 and 3 are
// zero. No text and no protobuf of a tokenizer has zeros there.
bool LooksLikeLlama2cTokenizer(std::string_view text) {
  return text.size() >= 4 && text[2] == '\0' && text[3] == '\0';
}

Result<model::Vocabulary> ReadAny(std::string_view text, int64_t vocab_size,
                                  std::string_view tokenizer_config) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) {
    return Fail(ErrorCode::kMalformed, "the tokenizer is empty");
  }
  if (text[first] == '{') {
    return ReadTokenizerJson(text, tokenizer_config);
  }
  if (LooksLikeTiktoken(text)) {
    return ReadTiktoken(text);
  }
  if (LooksLikeLlama2cTokenizer(text)) {
    return ReadLlama2cTokenizer(AsBytes(text), vocab_size);
  }
  return ReadSentencePieceModel(AsBytes(text));
}

}  // namespace

Result<model::Vocabulary> ReadTokenizerFile(const std::filesystem::path& path, int64_t vocab_size,
                                            std::string_view tokenizer_config) {
  ETCH_ASSIGN_OR_RETURN(const std::string text, ReadSmallFile(path));
  Result<model::Vocabulary> vocabulary = ReadAny(text, vocab_size, tokenizer_config);
  if (!vocabulary) {
    return Prefix(path.filename().string(), std::move(vocabulary).error());
  }
  return vocabulary;
}

}  // namespace etch::ingest
