#include "ingest/tokenizer_llama2c.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>

#include "ingest/tokenizer_parts.h"

namespace etch::ingest {

using model::TokenType;
using model::Vocabulary;

namespace {

// llama2.c fixes the first ids: <unk>, <s>, </s>, then the 256 bytes.
constexpr size_t kBos = 1;
constexpr size_t kEos = 2;
constexpr size_t kFirstByte = 3;
constexpr size_t kFirstText = kFirstByte + 256;
constexpr uint64_t kMinTokenBytes = 8;  // score and length
constexpr std::string_view kSpaceSymbol = "\xE2\x96\x81";

TokenType TypeOf(size_t id) {
  if (id == 0) {
    return TokenType::kUnknown;
  }
  if (id < kFirstByte) {
    return TokenType::kControl;
  }
  return id < kFirstText ? TokenType::kByte : TokenType::kNormal;
}

// The exporter wrote spaces for "▁" and put line feeds around <s> and </s>.
std::string TextOf(size_t id, std::string_view written) {
  if (id == kBos) {
    return "<s>";
  }
  if (id == kEos) {
    return "</s>";
  }
  std::string text;
  for (const char letter : written) {
    if (letter == ' ') {
      text += kSpaceSymbol;
    } else {
      text += letter;
    }
  }
  return text;
}

Result<model::Token> ReadToken(ByteReader& reader, size_t id) {
  model::Token token;
  ETCH_ASSIGN_OR_RETURN(token.score, reader.Read<float>());
  if (std::isnan(token.score)) {
    return Fail(ErrorCode::kMalformed, "tokenizer.bin: the score of token {} is not a number", id);
  }
  ETCH_ASSIGN_OR_RETURN(const auto size, reader.Read<int32_t>());
  if (size < 0) {
    return Fail(ErrorCode::kMalformed, "tokenizer.bin: token {} has {} bytes", id, size);
  }
  ETCH_ASSIGN_OR_RETURN(const Bytes written, reader.ReadBytes(static_cast<uint64_t>(size)));
  token.type = TypeOf(id);
  token.text = TextOf(id, AsText(written));
  if (token.type == TokenType::kByte && token.text != fmt::format("<0x{:02X}>", id - kFirstByte)) {
    return Fail(ErrorCode::kMalformed, "tokenizer.bin: token {} is not byte 0x{:02X}", id,
                id - kFirstByte);
  }
  return token;
}

}  // namespace

Result<Vocabulary> ReadLlama2cTokenizer(Bytes bytes, int64_t vocab_size) {
  ByteReader reader(bytes, "tokenizer.bin");
  ETCH_TRY(reader.Read<uint32_t>());  // the longest token, which reading them tells as well
  if (vocab_size < static_cast<int64_t>(kFirstText) ||
      static_cast<uint64_t>(vocab_size) > reader.remaining() / kMinTokenBytes) {
    return Fail(ErrorCode::kMalformed, "tokenizer.bin: {} bytes cannot hold the model's {} tokens",
                bytes.size(), vocab_size);
  }
  Vocabulary vocabulary;
  vocabulary.kind = model::TokenizerKind::kSentencePiece;
  vocabulary.order = model::MergeOrder::kScores;
  vocabulary.tokens.reserve(static_cast<size_t>(vocab_size));
  for (size_t id = 0; id < static_cast<size_t>(vocab_size); ++id) {
    ETCH_ASSIGN_OR_RETURN(model::Token token, ReadToken(reader, id));
    vocabulary.tokens.push_back(std::move(token));
  }
  if (reader.remaining() != 0) {
    return Fail(ErrorCode::kMalformed,
                "tokenizer.bin: {} bytes follow the model's {} tokens; it belongs to another model",
                reader.remaining(), vocab_size);
  }
  vocabulary.add_prefix_space = true;
  vocabulary.prefix_space_first_only = false;
  vocabulary.byte_fallback = true;
  vocabulary.unknown = 0;
  vocabulary.bos = static_cast<model::TokenId>(kBos);
  vocabulary.eos = static_cast<model::TokenId>(kEos);
  vocabulary.add_bos = true;
  CollectEndOfGeneration(vocabulary);
  return vocabulary;
}

}  // namespace etch::ingest
