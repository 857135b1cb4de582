#include "image/vocabulary_codec.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace etch::image {
namespace {

using model::Merge;
using model::Token;
using model::TokenId;
using model::Vocabulary;

// Bit by bit; never reorder.
constexpr std::array<bool Vocabulary::*, 10> kFlags = {&Vocabulary::ranks_are_ids,
                                                       &Vocabulary::ignore_merges,
                                                       &Vocabulary::split_digits,
                                                       &Vocabulary::add_prefix_space,
                                                       &Vocabulary::prefix_space_first_only,
                                                       &Vocabulary::remove_extra_spaces,
                                                       &Vocabulary::byte_fallback,
                                                       &Vocabulary::add_bos,
                                                       &Vocabulary::add_eos,
                                                       &Vocabulary::prefix_space_unless_space};

constexpr std::array<TokenId Vocabulary::*, 4> kSpecials = {
    &Vocabulary::bos, &Vocabulary::eos, &Vocabulary::unknown, &Vocabulary::padding};

// The beginning of the section; vocabulary_codec.h has its table.
struct VocabularyRecord {
  uint8_t kind = 0;
  uint8_t order = 0;
  LittleEndian<uint16_t> flags;
  std::array<LittleEndian<TokenId>, kSpecials.size()> specials;
  LittleEndian<uint32_t> n_ends;
  LittleEndian<uint32_t> n_patterns;
  LittleEndian<uint32_t> n_tokens;
  LittleEndian<uint32_t> n_merges;
};
static_assert(sizeof(VocabularyRecord) == 36);

// Smallest encodings: what bounds the counts before anything is allocated.
constexpr uint64_t kMinPatternBytes = 4;
constexpr uint64_t kMinTokenBytes = 10;

Status CheckCount(uint32_t count, uint64_t min_bytes, const ByteReader& reader,
                  std::string_view what) {
  if (count > reader.remaining() / min_bytes) {
    return Fail(ErrorCode::kMalformed, "vocabulary: {} {} do not fit its {} remaining bytes", count,
                what, reader.remaining());
  }
  return {};
}

// A stored byte as an enumerator between `first` and `last`.
template <class Enum>
Result<Enum> ToEnum(uint8_t value, Enum first, Enum last, std::string_view what) {
  if (value < static_cast<uint8_t>(first) || value > static_cast<uint8_t>(last)) {
    return Fail(ErrorCode::kMalformed, "vocabulary: {} {} is not known", what, value);
  }
  return static_cast<Enum>(value);
}

Result<Token> ReadToken(ByteReader& reader) {
  Token token;
  ETCH_ASSIGN_OR_RETURN(token.text, reader.ReadString32());
  ETCH_ASSIGN_OR_RETURN(token.score, reader.Read<float>());
  ETCH_ASSIGN_OR_RETURN(const auto type, reader.Read<uint8_t>());
  ETCH_ASSIGN_OR_RETURN(
      token.type, ToEnum(type, model::TokenType::kNormal, model::TokenType::kByte, "token type"));
  ETCH_ASSIGN_OR_RETURN(const auto white_space, reader.Read<uint8_t>());
  if (white_space > 3) {
    return Fail(ErrorCode::kMalformed, "vocabulary: token flags {} are not known", white_space);
  }
  token.lstrip = (white_space & 1) != 0;
  token.rstrip = (white_space & 2) != 0;
  return token;
}

}  // namespace

Status ValidateVocabulary(const Vocabulary& vocabulary, int64_t vocab_size) {
  const auto size = static_cast<int64_t>(vocabulary.tokens.size());
  const auto check = [&](TokenId id, std::string_view what) -> Status {
    if (id < 0 || id >= size) {
      return Fail(ErrorCode::kInvalidArgument, "vocabulary: {} {} is not one of the {} tokens",
                  what, id, size);
    }
    return {};
  };
  if (size > vocab_size) {
    return Fail(ErrorCode::kInvalidArgument, "vocabulary: {} tokens for a model of {}", size,
                vocab_size);
  }
  for (const auto special : kSpecials) {
    if (vocabulary.*special != model::kNoToken) {
      ETCH_TRY(check(vocabulary.*special, "special token"));
    }
  }
  for (const TokenId id : vocabulary.end_of_generation) {
    ETCH_TRY(check(id, "end of generation"));
  }
  if (!std::ranges::is_sorted(vocabulary.end_of_generation)) {
    return Fail(ErrorCode::kInvalidArgument, "vocabulary: ids that end an answer are not sorted");
  }
  for (const Merge& merge : vocabulary.merges) {
    ETCH_TRY(check(merge.left, "merge of"));
    ETCH_TRY(check(merge.right, "merge of"));
    ETCH_TRY(check(merge.result, "merge into"));
  }
  for (const Token& token : vocabulary.tokens) {
    if (std::isnan(token.score)) {
      return Fail(ErrorCode::kInvalidArgument, "vocabulary: the score of token \"{}\" is NaN",
                  token.text);
    }
  }
  return {};
}

std::vector<std::byte> EncodeVocabulary(const Vocabulary& vocabulary) {
  VocabularyRecord record;
  record.kind = static_cast<uint8_t>(vocabulary.kind);
  record.order = static_cast<uint8_t>(vocabulary.order);
  uint32_t flags = 0;
  for (size_t bit = 0; bit < kFlags.size(); ++bit) {
    flags |= static_cast<uint32_t>(vocabulary.*kFlags[bit]) << bit;
  }
  record.flags = static_cast<uint16_t>(flags);
  for (size_t index = 0; index < kSpecials.size(); ++index) {
    record.specials[index] = vocabulary.*kSpecials[index];
  }
  record.n_ends = static_cast<uint32_t>(vocabulary.end_of_generation.size());
  record.n_patterns = static_cast<uint32_t>(vocabulary.split_patterns.size());
  record.n_tokens = static_cast<uint32_t>(vocabulary.tokens.size());
  record.n_merges = static_cast<uint32_t>(vocabulary.merges.size());
  ByteWriter writer;
  writer.Write(record);
  for (const TokenId id : vocabulary.end_of_generation) {
    writer.Write(id);
  }
  for (const std::string& pattern : vocabulary.split_patterns) {
    writer.WriteString32(pattern);
  }
  for (const Token& token : vocabulary.tokens) {
    writer.WriteString32(token.text);
    writer.Write(token.score);
    writer.Write(static_cast<uint8_t>(token.type));
    writer.Write(static_cast<uint8_t>((token.lstrip ? 1 : 0) | (token.rstrip ? 2 : 0)));
  }
  for (const Merge& merge : vocabulary.merges) {
    writer.Write(merge.left);
    writer.Write(merge.right);
    writer.Write(merge.result);
  }
  return writer.Take();
}

Result<Vocabulary> DecodeVocabulary(Bytes bytes, int64_t vocab_size) {
  ByteReader reader(bytes, "vocabulary");
  Vocabulary vocabulary;
  ETCH_ASSIGN_OR_RETURN(const auto record, reader.Read<VocabularyRecord>());
  ETCH_ASSIGN_OR_RETURN(vocabulary.kind,
                        ToEnum(record.kind, model::TokenizerKind::kByteLevelBpe,
                               model::TokenizerKind::kSentencePiece, "tokenizer kind"));
  ETCH_ASSIGN_OR_RETURN(vocabulary.order, ToEnum(record.order, model::MergeOrder::kScores,
                                                 model::MergeOrder::kRanks, "merge order"));
  const uint16_t flags = record.flags;
  if (flags >> kFlags.size() != 0) {
    return Fail(ErrorCode::kMalformed, "vocabulary: flags {:#x} are not known", flags);
  }
  for (size_t bit = 0; bit < kFlags.size(); ++bit) {
    vocabulary.*kFlags[bit] = (flags >> bit & 1) != 0;
  }
  for (size_t index = 0; index < kSpecials.size(); ++index) {
    vocabulary.*kSpecials[index] = record.specials[index];
  }
  const uint32_t ends = record.n_ends;
  const uint32_t patterns = record.n_patterns;
  const uint32_t tokens = record.n_tokens;
  const uint32_t merges = record.n_merges;
  ETCH_TRY(CheckCount(ends, sizeof(TokenId), reader, "ends of generation"));
  for (uint32_t index = 0; index < ends; ++index) {
    ETCH_ASSIGN_OR_RETURN(const auto id, reader.Read<TokenId>());
    vocabulary.end_of_generation.push_back(id);
  }
  ETCH_TRY(CheckCount(patterns, kMinPatternBytes, reader, "split patterns"));
  for (uint32_t index = 0; index < patterns; ++index) {
    ETCH_ASSIGN_OR_RETURN(std::string pattern, reader.ReadString32());
    vocabulary.split_patterns.push_back(std::move(pattern));
  }
  ETCH_TRY(CheckCount(tokens, kMinTokenBytes, reader, "tokens"));
  vocabulary.tokens.reserve(tokens);
  for (uint32_t index = 0; index < tokens; ++index) {
    ETCH_ASSIGN_OR_RETURN(Token token, ReadToken(reader));
    vocabulary.tokens.push_back(std::move(token));
  }
  ETCH_TRY(CheckCount(merges, sizeof(Merge), reader, "merges"));
  vocabulary.merges.reserve(merges);
  for (uint32_t index = 0; index < merges; ++index) {
    ETCH_ASSIGN_OR_RETURN(const auto left, reader.Read<TokenId>());
    ETCH_ASSIGN_OR_RETURN(const auto right, reader.Read<TokenId>());
    ETCH_ASSIGN_OR_RETURN(const auto result, reader.Read<TokenId>());
    vocabulary.merges.push_back({left, right, result});
  }
  if (reader.remaining() != 0) {
    return Fail(ErrorCode::kMalformed, "vocabulary: {} bytes too many", reader.remaining());
  }
  if (const Status valid = ValidateVocabulary(vocabulary, vocab_size); !valid) {
    return Fail(ErrorCode::kMalformed, "{}", valid.error().message);
  }
  return vocabulary;
}

}  // namespace etch::image
