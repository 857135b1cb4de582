// The three binary or line-based formats: SentencePiece, tiktoken, llama2.c.

#include <gmock/gmock.h>

#include <limits>

#include "base/bytes.h"
#include "ingest/tokenizer_llama2c.h"
#include "ingest/tokenizer_sentencepiece.h"
#include "ingest/tokenizer_tiktoken.h"

namespace etch::ingest {
namespace {

using model::TokenType;
using testing::ElementsAre;
using testing::HasSubstr;

std::string MessageOf(const Result<model::Vocabulary>& vocabulary) {
  EXPECT_FALSE(vocabulary.has_value());
  return vocabulary ? "" : vocabulary.error().message;
}

// --- SentencePiece: protobuf by hand; all sizes and values below 128.

std::string Counted(int number, std::string_view bytes) {
  return std::string{static_cast<char>(number << 3 | 2), static_cast<char>(bytes.size())}.append(
      bytes);
}

std::string Varint(int number, int value) {
  const std::string tag = number < 16 ? std::string{static_cast<char>(number << 3)}
                                      : std::string{static_cast<char>((number << 3 & 0x7F) | 0x80),
                                                    static_cast<char>(number >> 4)};
  return tag + static_cast<char>(value);
}

std::string Piece(std::string_view text, float score, int type) {
  const LittleEndian<float> raw = score;
  const std::string fixed(reinterpret_cast<const char*>(&raw), 4);
  return Counted(1, Counted(1, text) + '\x15' + fixed + Varint(3, type));
}

const std::string kPieces = Piece("<unk>", 0, 2) + Piece("<s>", 0, 3) + Piece("</s>", 0, 3) +
                            Piece("\xE2\x96\x81", -1.5F, 1);
const std::string kTrainer = Counted(2, Varint(3, 2) + Varint(35, 1));
const std::string kNormalizer = Counted(3, Counted(1, "identity") + Varint(3, 1) + Varint(4, 0));

Result<model::Vocabulary> ReadPieces(const std::string& bytes) {
  return ReadSentencePieceModel(AsBytes(bytes));
}

TEST(SentencePieceModel, Reads) {
  const auto vocabulary = ReadPieces(kPieces + kTrainer + kNormalizer);
  ASSERT_TRUE(vocabulary.has_value()) << vocabulary.error().message;
  ASSERT_EQ(vocabulary->tokens.size(), 4U);
  EXPECT_EQ(vocabulary->tokens[3].score, -1.5F);
  EXPECT_EQ(vocabulary->tokens[1].type, TokenType::kControl);
  EXPECT_TRUE(vocabulary->byte_fallback && vocabulary->add_prefix_space && vocabulary->add_bos);
  EXPECT_FALSE(vocabulary->remove_extra_spaces);
  EXPECT_EQ(vocabulary->unknown, 0);
  EXPECT_EQ(vocabulary->bos, 1);
  EXPECT_EQ(vocabulary->eos, 2);
  EXPECT_EQ(vocabulary->padding, model::kNoToken);
}

TEST(SentencePieceModel, RefusesOtherModels) {
  const auto unigram = ReadPieces(kPieces);
  EXPECT_THAT(MessageOf(unigram), HasSubstr("model of type 1 (1 is Unigram"));
  EXPECT_EQ(unigram.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(MessageOf(ReadPieces(kPieces + kTrainer + Counted(3, Counted(2, "map")))),
              HasSubstr("with a character map"));
  EXPECT_THAT(MessageOf(ReadPieces(kPieces + kTrainer + Counted(3, Varint(5, 0)))),
              HasSubstr("does not write spaces as"));
  EXPECT_THAT(MessageOf(ReadPieces(kPieces + kTrainer + Counted(2, Varint(24, 1)))),
              HasSubstr("does not write spaces as"));
}

TEST(SentencePieceModel, RefusesBrokenBytes) {
  EXPECT_THAT(MessageOf(ReadPieces("")), HasSubstr("without tokens"));
  EXPECT_THAT(MessageOf(ReadPieces("\x0B")), HasSubstr("wire type 3"));
  EXPECT_THAT(MessageOf(ReadPieces(std::string(11, '\xFF'))), HasSubstr("more than ten bytes"));
  EXPECT_THAT(MessageOf(ReadPieces(Piece("x", 0, 7))), HasSubstr("token 0 has type 7"));
  EXPECT_THAT(MessageOf(ReadPieces(Piece("x", std::numeric_limits<float>::quiet_NaN(), 1))),
              HasSubstr("score of token 0 is not a number"));
  EXPECT_THAT(MessageOf(ReadPieces(kPieces + Counted(2, Varint(3, 2) + Varint(43, 9)))),
              HasSubstr("pad_id is 9, but there are 4 tokens"));
  const std::string whole = kPieces + kTrainer + kNormalizer;
  for (size_t size = 0; size < whole.size(); ++size) {
    (void)ReadPieces(whole.substr(0, size));  // No cut may read past the end.
  }
  EXPECT_THAT(MessageOf(ReadPieces(whole.substr(0, 3))), HasSubstr("SentencePiece model"));
}

// --- tiktoken

std::string Base64OfByte(int byte) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const auto bits = static_cast<size_t>(byte);
  return std::string{kDigits[bits >> 2], kDigits[(bits & 3) << 4], '=', '='};
}

std::string AllBytes() {
  std::string lines;
  for (int byte = 0; byte < 256; ++byte) {
    lines += fmt::format("{} {}\n", Base64OfByte(byte), byte);
  }
  return lines;
}

TEST(Tiktoken, Reads) {
  const auto vocabulary = ReadTiktoken(AllBytes() + "aGVs 256\r\nYWI= 257");
  ASSERT_TRUE(vocabulary.has_value()) << vocabulary.error().message;
  ASSERT_EQ(vocabulary->tokens.size(), 258U + 256U);
  EXPECT_EQ(vocabulary->tokens[255].text, "\xFF");
  EXPECT_EQ(vocabulary->tokens[256].text, "hel");
  EXPECT_EQ(vocabulary->tokens[257].text, "ab");
  EXPECT_EQ(vocabulary->tokens[258].text, "<|begin_of_text|>");
  EXPECT_EQ(vocabulary->tokens[258].type, TokenType::kControl);
  EXPECT_EQ(vocabulary->tokens[513].text, "<|reserved_special_token_247|>");
  EXPECT_TRUE(vocabulary->ranks_are_ids && vocabulary->add_bos);
  EXPECT_THAT(vocabulary->end_of_generation, ElementsAre(259, 266, 267));
}

TEST(Tiktoken, RefusesBrokenLines) {
  EXPECT_EQ(MessageOf(ReadTiktoken("\nIQ== x")), "line 2 is no \"base64 rank\"");
  EXPECT_EQ(MessageOf(ReadTiktoken("IQ= 0")), "line 1 is no \"base64 rank\"");
  EXPECT_EQ(MessageOf(ReadTiktoken("I*== 0")), "line 1 is no \"base64 rank\"");
  EXPECT_EQ(MessageOf(ReadTiktoken("IQ==")), "line 1 is no \"base64 rank\"");
  EXPECT_EQ(MessageOf(ReadTiktoken("IQ== 1")), "line 1 has rank 1 where 0 is due");
  EXPECT_EQ(MessageOf(ReadTiktoken("IQ== 0\nIQ== 1")),
            "line 2 has a token that an earlier line has");
  EXPECT_EQ(MessageOf(ReadTiktoken("AA== 0\n")), "no token is the single byte 0x01");
}

TEST(Tiktoken, IsToldFromSentencePiece) {
  EXPECT_TRUE(LooksLikeTiktoken("IQ== 0\nIg== 1\n"));
  EXPECT_FALSE(LooksLikeTiktoken(kPieces));
  EXPECT_FALSE(LooksLikeTiktoken("{\"model\": 1}"));
  EXPECT_FALSE(LooksLikeTiktoken(""));
}

// --- llama2.c

std::string Entry(float score, std::string_view text) {
  ByteWriter writer;
  writer.Write(score);
  writer.WriteString32(text);
  return std::string(AsText(writer.bytes()));
}

std::string Llama2cBytes(std::string_view last_of_bytes = "<0xFF>") {
  std::string bytes("\x07\0\0\0", 4);
  bytes += Entry(0, "<unk>") + Entry(0, "\n<s>\n") + Entry(0, "\n</s>\n");
  for (int byte = 0; byte < 255; ++byte) {
    bytes += Entry(0, fmt::format("<0x{:02X}>", byte));
  }
  return bytes + Entry(0, last_of_bytes) + Entry(-1, " a");
}

TEST(Llama2cTokenizer, Reads) {
  const std::string bytes = Llama2cBytes();
  const auto vocabulary = ReadLlama2cTokenizer(AsBytes(bytes), 260);
  ASSERT_TRUE(vocabulary.has_value()) << vocabulary.error().message;
  EXPECT_EQ(vocabulary->tokens[1].text, "<s>");
  EXPECT_EQ(vocabulary->tokens[2].type, TokenType::kControl);
  EXPECT_EQ(vocabulary->tokens[3].type, TokenType::kByte);
  EXPECT_EQ(vocabulary->tokens[259].text, "▁a");
  EXPECT_EQ(vocabulary->tokens[259].score, -1.0F);
  EXPECT_THAT(vocabulary->end_of_generation, ElementsAre(2));
}

TEST(Llama2cTokenizer, RefusesBrokenBytes) {
  const std::string bytes = Llama2cBytes();
  const auto read = [](const std::string& text, int64_t vocab_size) {
    return MessageOf(ReadLlama2cTokenizer(AsBytes(text), vocab_size));
  };
  EXPECT_THAT(read(bytes, 100), HasSubstr("cannot hold the model's 100 tokens"));
  EXPECT_THAT(read(bytes, int64_t{1} << 62), HasSubstr("cannot hold the model's"));
  EXPECT_THAT(read(bytes + "x", 260), HasSubstr("1 bytes follow the model's 260 tokens"));
  EXPECT_THAT(read(bytes.substr(0, bytes.size() - 1), 260), HasSubstr("tokenizer.bin"));
  EXPECT_THAT(read(Llama2cBytes("<0xEE>"), 260), HasSubstr("token 258 is not byte 0xFF"));
  std::string broken = bytes;
  broken.replace(4, 4, std::string("\0\0\xC0\x7F", 4));
  EXPECT_THAT(read(broken, 260), HasSubstr("score of token 0 is not a number"));
  broken = bytes;
  broken.replace(8, 4, "\xFF\xFF\xFF\xFF");
  EXPECT_THAT(read(broken, 260), HasSubstr("token 0 has -1 bytes"));
  EXPECT_THAT(read("", 260), HasSubstr("tokenizer.bin"));
}

}  // namespace
}  // namespace etch::ingest
