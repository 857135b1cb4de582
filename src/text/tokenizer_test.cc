#include "text/tokenizer.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>

namespace etch::text {
namespace {

using model::kNoToken;
using model::MergeOrder;
using model::Token;
using model::TokenizerKind;
using model::TokenType;
using model::Vocabulary;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// Ids 0..255 are the bytes, then "ab", "abc", "<|end|>" (control), "<sep>" (user-defined).
constexpr TokenId kAb = 256;
constexpr TokenId kAbc = 257;
constexpr TokenId kEnd = 258;
constexpr TokenId kSep = 259;

Vocabulary ByteLevel() {
  Vocabulary vocabulary;
  for (int byte = 0; byte < 256; ++byte) {
    vocabulary.tokens.push_back({.text = std::string(1, static_cast<char>(byte))});
  }
  vocabulary.tokens.push_back({.text = "ab"});
  vocabulary.tokens.push_back({.text = "abc"});
  vocabulary.tokens.push_back({.text = "<|end|>", .type = TokenType::kControl});
  vocabulary.tokens.push_back({.text = "<sep>", .type = TokenType::kUserDefined});
  vocabulary.merges = {{'a', 'b', kAb}, {kAb, 'c', kAbc}};
  vocabulary.split_patterns = {R"(\p{L}+|\s+(?!\S)|\s+)"};
  vocabulary.eos = kEnd;
  vocabulary.end_of_generation = {kEnd};
  return vocabulary;
}

// <unk>, <s>, </s>, 256 bytes, then pieces by falling score.
constexpr TokenId kByte0 = 3;
constexpr TokenId kPieces = 259;
Vocabulary SentencePiece() {
  Vocabulary vocabulary;
  vocabulary.kind = TokenizerKind::kSentencePiece;
  vocabulary.order = MergeOrder::kScores;
  vocabulary.tokens = {{.text = "<unk>", .type = TokenType::kUnknown},
                       {.text = "<s>", .type = TokenType::kControl},
                       {.text = "</s>", .type = TokenType::kControl}};
  for (int byte = 0; byte < 256; ++byte) {
    vocabulary.tokens.push_back(
        {.text = fmt::format("<0x{:02X}>", byte), .type = TokenType::kByte});
  }
  float score = 0;
  for (const char* piece : {"▁h", "▁hi", "▁▁", "▁", "h", "i", "<", "s", ">", "<s", "é"}) {
    vocabulary.tokens.push_back({.text = piece, .score = score});
    score -= 1;
  }
  vocabulary.byte_fallback = true;
  vocabulary.add_prefix_space = true;
  vocabulary.prefix_space_first_only = false;
  vocabulary.bos = 1;
  vocabulary.eos = 2;
  vocabulary.unknown = 0;
  vocabulary.add_bos = true;
  return vocabulary;
}

std::unique_ptr<Tokenizer> Make(Vocabulary vocabulary) {
  auto tokenizer = Tokenizer::Create(std::move(vocabulary));
  EXPECT_TRUE(tokenizer.has_value()) << (tokenizer ? "" : tokenizer.error().message);
  return *std::move(tokenizer);
}

std::string Failure(Vocabulary vocabulary) {
  const auto tokenizer = Tokenizer::Create(std::move(vocabulary));
  EXPECT_FALSE(tokenizer.has_value());
  return tokenizer ? "" : tokenizer.error().message;
}

TEST(Tokenizer, MergesByRankLeftFirst) {
  const auto tokenizer = Make(ByteLevel());
  EXPECT_THAT(tokenizer->Encode("abcab"), ElementsAre(kAbc, kAb));
  EXPECT_THAT(tokenizer->Encode("ab c"), ElementsAre(kAb, ' ', 'c'));
  EXPECT_THAT(tokenizer->Encode(""), IsEmpty());
}

TEST(Tokenizer, MergesLowestIdFirstWhenRanksAreIds) {
  Vocabulary vocabulary = ByteLevel();
  vocabulary.merges.clear();
  vocabulary.ranks_are_ids = true;
  vocabulary.tokens[kAb].text = "bc";
  const auto tokenizer = Make(vocabulary);
  EXPECT_THAT(tokenizer->Encode("abcd"), ElementsAre(kAbc, 'd'));
  EXPECT_THAT(tokenizer->Encode("abc"), ElementsAre(kAbc));
}

TEST(Tokenizer, WholePiecesIgnoreMerges) {
  Vocabulary vocabulary = ByteLevel();
  vocabulary.merges.clear();
  EXPECT_THAT(Make(vocabulary)->Encode("abc"), ElementsAre('a', 'b', 'c'));
  vocabulary.ignore_merges = true;
  EXPECT_THAT(Make(vocabulary)->Encode("abc abcd"), ElementsAre(kAbc, ' ', 'a', 'b', 'c', 'd'));
}

TEST(Tokenizer, SplitsDigitsOneByOne) {
  Vocabulary vocabulary = ByteLevel();
  vocabulary.tokens.push_back({.text = "12"});
  vocabulary.merges.push_back({'1', '2', 260});
  EXPECT_THAT(Make(vocabulary)->Encode("12"), ElementsAre(260));
  vocabulary.split_digits = true;
  EXPECT_THAT(Make(vocabulary)->Encode("12"), ElementsAre('1', '2'));
}

TEST(Tokenizer, BytesWithoutTokenVanishOrAreUnknown) {
  Vocabulary vocabulary = ByteLevel();
  vocabulary.split_patterns.clear();
  vocabulary.tokens['x'].text = "other";
  EXPECT_THAT(Make(vocabulary)->Encode("axbx"), ElementsAre(kAb));
  vocabulary.unknown = 'x';
  EXPECT_THAT(Make(vocabulary)->Encode("axxbx"), ElementsAre('a', 'x', 'b', 'x'));
}

TEST(Tokenizer, TextThatContinuesGetsNoPrefixSpace) {
  Vocabulary vocabulary = ByteLevel();
  vocabulary.add_prefix_space = true;
  for (const bool first_only : {true, false}) {
    vocabulary.prefix_space_first_only = first_only;
    const auto tokenizer = Make(vocabulary);
    EXPECT_THAT(tokenizer->Encode("z", {.continues = false}), ElementsAre(' ', 'z'));
    EXPECT_THAT(tokenizer->Encode("z", {.continues = true}), ElementsAre('z'));
  }
}

TEST(Tokenizer, InvalidUtf8CutsPieces) {
  const auto tokenizer = Make(ByteLevel());
  EXPECT_THAT(tokenizer->Encode("ab\xFF\xE2\x96"), ElementsAre(kAb, 0xFF, 0xE2, 0x96));
  EXPECT_EQ(tokenizer->Decode({kAb, 0xFF, 0xE2, 0x96}), "ab\xFF\xE2\x96");
}

TEST(Tokenizer, ControlTokensStayTextUnlessParsed) {
  const auto tokenizer = Make(ByteLevel());
  EXPECT_EQ(tokenizer->Encode("ab<|end|>").size(), 8U);
  EXPECT_THAT(tokenizer->Encode("ab<|end|>ab", {.parse_special = true}),
              ElementsAre(kAb, kEnd, kAb));
  EXPECT_THAT(tokenizer->Encode("ab<sep>c"), ElementsAre(kAb, kSep, 'c'));
  EXPECT_EQ(tokenizer->Decode({kAb, kEnd, kSep}), "ab<sep>");
  EXPECT_EQ(tokenizer->Decode({kAb, kEnd}, true), "ab<|end|>");
  EXPECT_TRUE(tokenizer->IsEndOfGeneration(kEnd));
  EXPECT_FALSE(tokenizer->IsEndOfGeneration(kSep));
  EXPECT_EQ(tokenizer->Find("<|end|>"), kEnd);
  EXPECT_EQ(tokenizer->Find("no such token"), kNoToken);
  // "<s" and ">" are tokens, and "<s>" would have the best score of all.
  const auto sentence_piece = Make(SentencePiece());
  EXPECT_THAT(sentence_piece->Encode("<s>", {.add_special = false}),
              ElementsAre(kPieces + 3, kPieces + 9, kPieces + 8));
}

TEST(Tokenizer, LongestSpecialTokenWinsAndTakesWhiteSpace) {
  Vocabulary vocabulary = ByteLevel();
  vocabulary.tokens.push_back(
      {.text = "<sep>!", .type = TokenType::kUserDefined, .lstrip = true, .rstrip = true});
  const auto tokenizer = Make(vocabulary);
  EXPECT_THAT(tokenizer->Encode("c \n<sep>!\t c<sep>"), ElementsAre('c', 260, 'c', kSep));
  EXPECT_THAT(tokenizer->Encode(" <sep>! "), ElementsAre(260));
}

TEST(Tokenizer, AddsBosAndEos) {
  Vocabulary vocabulary = SentencePiece();
  vocabulary.add_eos = true;
  const auto tokenizer = Make(vocabulary);
  EXPECT_THAT(tokenizer->Encode("hi"), ElementsAre(1, kPieces + 1, 2));
  EXPECT_THAT(tokenizer->Encode("hi", {.add_special = false}), ElementsAre(kPieces + 1));
}

TEST(Tokenizer, SentencePieceFallsBackToBytes) {
  const auto tokenizer = Make(SentencePiece());
  const std::vector<TokenId> ids = tokenizer->Encode("é\xF0\x9F\xFF", {.add_special = false});
  EXPECT_THAT(ids,
              ElementsAre(kPieces + 3, kPieces + 10, kByte0 + 0xF0, kByte0 + 0x9F, kByte0 + 0xFF));
  EXPECT_EQ(tokenizer->Decode(ids), "é\xF0\x9F\xFF");
}

TEST(Tokenizer, SentencePieceWithoutBytesFusesUnknowns) {
  Vocabulary vocabulary = SentencePiece();
  vocabulary.byte_fallback = false;
  EXPECT_THAT(Make(vocabulary)->Encode("hxxh", {.add_special = false}),
              ElementsAre(kPieces, 0, kPieces + 4));
}

TEST(Tokenizer, SentencePieceMergesPairsByRank) {
  Vocabulary vocabulary = SentencePiece();
  vocabulary.order = MergeOrder::kRanks;
  vocabulary.merges = {{kPieces + 4, kPieces + 5, kPieces + 1}};
  EXPECT_THAT(Make(vocabulary)->Encode("hi\xC3\xBC", {.add_special = false}),
              ElementsAre(kPieces + 3, kPieces + 1, kByte0 + 0xC3, kByte0 + 0xBC));
}

TEST(Tokenizer, PrefixSpaceRules) {
  Vocabulary vocabulary = SentencePiece();
  const EncodeOptions options = {.add_special = false, .parse_special = true};
  const TokenId space_hi = kPieces + 1;
  EXPECT_THAT(Make(vocabulary)->Encode("hi</s>hi", options), ElementsAre(space_hi, 2, space_hi));
  EXPECT_THAT(Make(vocabulary)->Encode(" hi", options), ElementsAre(kPieces + 3, space_hi));
  vocabulary.prefix_space_first_only = true;
  EXPECT_THAT(Make(vocabulary)->Encode("hi</s>hi", options),
              ElementsAre(space_hi, 2, kPieces + 4, kPieces + 5));
  vocabulary.prefix_space_unless_space = true;
  EXPECT_THAT(Make(vocabulary)->Encode(" hi", options), ElementsAre(space_hi));
  vocabulary.add_prefix_space = false;
  EXPECT_THAT(Make(vocabulary)->Encode("h", options), ElementsAre(kPieces + 4));
  EXPECT_EQ(Make(vocabulary)->Decode({space_hi}), " hi");

  Vocabulary byte_level = ByteLevel();
  byte_level.add_prefix_space = true;
  byte_level.prefix_space_unless_space = true;
  EXPECT_THAT(Make(byte_level)->Encode("ab"), ElementsAre(' ', kAb));
  EXPECT_THAT(Make(byte_level)->Encode(" ab"), ElementsAre(' ', kAb));
}

TEST(Tokenizer, RemovesExtraSpaces) {
  Vocabulary vocabulary = SentencePiece();
  vocabulary.remove_extra_spaces = true;
  EXPECT_THAT(Make(vocabulary)->Encode("  hi   hi ", {.add_special = false}),
              ElementsAre(kPieces + 1, kPieces + 1));
  EXPECT_THAT(Make(vocabulary)->Encode("   ", {.add_special = false}), IsEmpty());
  EXPECT_THAT(Make(vocabulary)->Encode("  hi ", {.add_special = false, .continues = true}),
              ElementsAre(kPieces + 1));
}

// With a token that holds a space inside, words are no longer pieces of their own.
TEST(Tokenizer, MergesAcrossSpacesWhereTokensDo) {
  Vocabulary vocabulary = SentencePiece();
  vocabulary.tokens.push_back({.text = "i▁", .score = 1});
  vocabulary.tokens.push_back({.text = "i▁h", .score = 2});
  EXPECT_THAT(Make(vocabulary)->Encode("hi hi", {.add_special = false}),
              ElementsAre(kPieces, kPieces + 12, kPieces + 5));
}

TEST(Tokenizer, TokenBytes) {
  const auto tokenizer = Make(SentencePiece());
  EXPECT_EQ(tokenizer->TokenBytes(kPieces + 1), " hi");
  EXPECT_EQ(tokenizer->TokenBytes(kByte0 + 10), "\n");
  EXPECT_EQ(tokenizer->TokenBytes(0), "");
  EXPECT_EQ(tokenizer->TokenBytes(0, true), "<unk>");
  EXPECT_EQ(tokenizer->TokenBytes(-1), "");
  EXPECT_EQ(tokenizer->TokenBytes(1 << 20), "");
  EXPECT_EQ(tokenizer->Decode({1, kPieces + 1, kPieces + 1}), "hi hi");
}

TEST(Tokenizer, RefusesContradictions) {
  EXPECT_EQ(Failure({}), "vocabulary: 0 tokens");
  Vocabulary broken = ByteLevel();
  broken.merges.push_back({'a', 'b', 260});
  EXPECT_EQ(Failure(broken), "vocabulary: merge into 260 is not one of the 260 tokens");
  broken = ByteLevel();
  broken.bos = -2;
  EXPECT_EQ(Failure(broken), "vocabulary: bos -2 is not one of the 260 tokens");
  broken = ByteLevel();
  broken.end_of_generation = {260};
  EXPECT_THAT(Failure(broken), HasSubstr("end of generation 260"));
  broken = ByteLevel();
  broken.add_bos = true;
  EXPECT_EQ(Failure(broken), "vocabulary: adds a bos token that it does not have");
  broken = ByteLevel();
  broken.split_patterns = {"(a"};
  EXPECT_THAT(Failure(broken), HasSubstr("split pattern \"(a\" is broken at byte 2"));
  broken.split_patterns.assign(33, "a");
  EXPECT_THAT(Failure(broken), HasSubstr("33 split patterns"));
  broken = SentencePiece();
  broken.tokens[7].score = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(Failure(broken), "vocabulary: the score of token 7 is not a number");
  broken = SentencePiece();
  broken.tokens[7].text = "<0xG0>";
  EXPECT_EQ(Failure(broken), "vocabulary: byte token 7 is not spelled like <0x0A>");
  broken.tokens[7] = {.text = "x"};
  EXPECT_EQ(Failure(broken), "vocabulary: byte fallback without a token for byte 0x04");
}

TEST(StreamDecoder, NeverSplitsACharacter) {
  const auto tokenizer = Make(ByteLevel());
  const std::string text =
      "a\xF0\x9F\xA6\x99\xE6\x97\xA5"
      "b";
  StreamDecoder decoder(*tokenizer);
  std::vector<std::string> pushed;
  for (const TokenId id : tokenizer->Encode(text)) {
    pushed.push_back(decoder.Push(id));
  }
  EXPECT_THAT(pushed, ElementsAre("a", "", "", "", "🦙", "", "", "日", "b"));
  EXPECT_EQ(decoder.Flush(), "");
}

TEST(StreamDecoder, ReplacesWhatCanBecomeNoCharacter) {
  const auto tokenizer = Make(ByteLevel());
  StreamDecoder decoder(*tokenizer);
  EXPECT_EQ(decoder.Push(0xE2), "");
  EXPECT_EQ(decoder.Push('a'),
            "\xEF\xBF\xBD"
            "a");
  EXPECT_EQ(decoder.Push(0xFF), "\xEF\xBF\xBD");
  EXPECT_EQ(decoder.Push(0xF0), "");
  EXPECT_EQ(decoder.Push(0x9F), "");
  EXPECT_EQ(decoder.Push(kEnd), "");
  EXPECT_EQ(decoder.Flush(), "\xEF\xBF\xBD");
  EXPECT_EQ(decoder.Flush(), "");
}

TEST(StreamDecoder, DropsOnlyTheDummySpace) {
  const auto tokenizer = Make(SentencePiece());
  StreamDecoder decoder(*tokenizer, true);
  EXPECT_EQ(decoder.Push(1), "");
  EXPECT_EQ(decoder.Push(kPieces + 1), "hi");
  EXPECT_EQ(decoder.Push(kPieces + 1), " hi");
  StreamDecoder keeping(*tokenizer);
  EXPECT_EQ(keeping.Push(kPieces + 1), " hi");
  const auto byte_level = Make(ByteLevel());
  StreamDecoder bytes(*byte_level, true);
  EXPECT_EQ(bytes.Push(' '), " ");
}

}  // namespace
}  // namespace etch::text
