// Arbitrary bytes as a tokenizer. The first byte says which format the others are: '{' is
// tokenizer.json itself, 's' SentencePiece, 't' tiktoken, 'l' llama2.c. What reads without an error
// must encode and decode. It stands here because ingest/, which reads, and text/, which encodes, do
// not know each other.

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/bytes.h"
#include "ingest/tokenizer_json.h"
#include "ingest/tokenizer_llama2c.h"
#include "ingest/tokenizer_sentencepiece.h"
#include "ingest/tokenizer_tiktoken.h"
#include "text/tokenizer.h"

namespace {

using etch::Result;
using etch::model::Vocabulary;

Result<Vocabulary> Read(std::string_view input) {
  const std::string_view rest = input.substr(1);
  switch (input[0]) {
    case 's':
      return etch::ingest::ReadSentencePieceModel(etch::AsBytes(rest));
    case 't':
      return etch::ingest::ReadTiktoken(rest);
    case 'l':
      return etch::ingest::ReadLlama2cTokenizer(etch::AsBytes(rest), 260);
    default:
      return etch::ingest::ReadTokenizerJson(input, "");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) {
    return 0;
  }
  Result<Vocabulary> vocabulary = Read({reinterpret_cast<const char*>(data), size});
  if (!vocabulary) {
    return 0;
  }
  const auto tokenizer = etch::text::Tokenizer::Create(*std::move(vocabulary));
  if (!tokenizer) {
    return 0;
  }
  constexpr std::string_view kText = "Hello <s>  w\xC3\xB6rld 123\n\xF0\x9F\xA6\x99\xFF\xE2\x96!";
  const auto ids = (*tokenizer)->Encode(kText, {.parse_special = true});
  etch::text::StreamDecoder decoder(**tokenizer, true);
  for (const etch::text::TokenId id : ids) {
    decoder.Push(id);
  }
  decoder.Flush();
  (*tokenizer)->Decode(ids, true);
  return 0;
}
