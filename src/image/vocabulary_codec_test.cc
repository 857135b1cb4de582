#include "image/vocabulary_codec.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "image/test_image.h"

namespace etch::image {
namespace {

using model::Vocabulary;

void ExpectEqual(const Vocabulary& actual, const Vocabulary& expected) {
  EXPECT_EQ(actual.kind, expected.kind);
  EXPECT_EQ(actual.order, expected.order);
  EXPECT_EQ(actual.ranks_are_ids, expected.ranks_are_ids);
  EXPECT_EQ(actual.ignore_merges, expected.ignore_merges);
  EXPECT_EQ(actual.split_patterns, expected.split_patterns);
  EXPECT_EQ(actual.split_digits, expected.split_digits);
  EXPECT_EQ(actual.add_prefix_space, expected.add_prefix_space);
  EXPECT_EQ(actual.prefix_space_first_only, expected.prefix_space_first_only);
  EXPECT_EQ(actual.remove_extra_spaces, expected.remove_extra_spaces);
  EXPECT_EQ(actual.byte_fallback, expected.byte_fallback);
  EXPECT_EQ(actual.bos, expected.bos);
  EXPECT_EQ(actual.eos, expected.eos);
  EXPECT_EQ(actual.unknown, expected.unknown);
  EXPECT_EQ(actual.padding, expected.padding);
  EXPECT_EQ(actual.end_of_generation, expected.end_of_generation);
  EXPECT_EQ(actual.add_bos, expected.add_bos);
  EXPECT_EQ(actual.add_eos, expected.add_eos);
  EXPECT_EQ(actual.prefix_space_unless_space, expected.prefix_space_unless_space);
  ASSERT_EQ(actual.tokens.size(), expected.tokens.size());
  for (size_t id = 0; id < actual.tokens.size(); ++id) {
    EXPECT_EQ(actual.tokens[id].text, expected.tokens[id].text);
    EXPECT_EQ(actual.tokens[id].score, expected.tokens[id].score);
    EXPECT_EQ(actual.tokens[id].type, expected.tokens[id].type);
    EXPECT_EQ(actual.tokens[id].lstrip, expected.tokens[id].lstrip);
    EXPECT_EQ(actual.tokens[id].rstrip, expected.tokens[id].rstrip);
  }
  ASSERT_EQ(actual.merges.size(), expected.merges.size());
  for (size_t rank = 0; rank < actual.merges.size(); ++rank) {
    EXPECT_EQ(actual.merges[rank].left, expected.merges[rank].left);
    EXPECT_EQ(actual.merges[rank].right, expected.merges[rank].right);
    EXPECT_EQ(actual.merges[rank].result, expected.merges[rank].result);
  }
}

std::string DecodeFailure(Bytes bytes, int64_t vocab_size = 50) {
  const Result<Vocabulary> vocabulary = DecodeVocabulary(bytes, vocab_size);
  if (vocabulary) {
    return "";
  }
  EXPECT_EQ(vocabulary.error().code, ErrorCode::kMalformed);
  return vocabulary.error().message;
}

TEST(VocabularyCodec, DecodesWhatItEncodes) {
  for (uint32_t seed = 0; seed < 50; ++seed) {
    const Vocabulary vocabulary = test::RandomVocabulary(seed, 1 + seed);
    const Result<Vocabulary> decoded = DecodeVocabulary(EncodeVocabulary(vocabulary), 1 + seed);
    ASSERT_TRUE(decoded.has_value()) << decoded.error().message;
    ExpectEqual(*decoded, vocabulary);
    EXPECT_EQ(decoded->chat_template, "") << "a section of its own";
  }
  const Result<Vocabulary> empty = DecodeVocabulary(EncodeVocabulary({}), 2);
  ASSERT_TRUE(empty.has_value()) << empty.error().message;
  ExpectEqual(*empty, {});
}

TEST(VocabularyCodec, FindsEveryTruncationAndWhatFollows) {
  std::vector<std::byte> bytes = EncodeVocabulary(test::RandomVocabulary(1, 20));
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_NE(DecodeFailure(Bytes(bytes).first(size)), "") << size;
  }
  bytes.push_back(std::byte{0});
  EXPECT_EQ(DecodeFailure(bytes), "vocabulary: 1 bytes too many");
}

// Offsets are those of the table in the header file.
TEST(VocabularyCodec, NamesTheFieldThatIsWrong) {
  const std::vector<std::byte> good = EncodeVocabulary(test::RandomVocabulary(1, 20));
  const auto failure = [&](size_t offset, uint8_t value) {
    std::vector<std::byte> bytes = good;
    bytes[offset] = std::byte{value};
    return DecodeFailure(bytes);
  };
  EXPECT_EQ(failure(0, 3), "vocabulary: tokenizer kind 3 is not known");
  EXPECT_EQ(failure(1, 0), "vocabulary: merge order 0 is not known");
  EXPECT_NE(failure(3, 128).find("flags 0x8"), std::string::npos);
  EXPECT_EQ(failure(4, 20), "vocabulary: special token 20 is not one of the 20 tokens");
  for (const size_t count : {size_t{20}, size_t{24}, size_t{28}, size_t{32}}) {
    EXPECT_NE(failure(count + 3, 255).find("do not fit its"), std::string::npos);
  }
}

TEST(VocabularyCodec, ChecksTokensAndWhatTheySay) {
  Vocabulary vocabulary;
  vocabulary.tokens = {{"ab", 1.0F, model::TokenType::kNormal, false, false}};
  std::vector<std::byte> bytes = EncodeVocabulary(vocabulary);
  bytes.back() = std::byte{4};
  EXPECT_EQ(DecodeFailure(bytes), "vocabulary: token flags 4 are not known");
  bytes[bytes.size() - 2] = std::byte{7};
  EXPECT_EQ(DecodeFailure(bytes), "vocabulary: token type 7 is not known");
  bytes[36] = std::byte{200};
  EXPECT_NE(DecodeFailure(bytes).find("vocabulary ends at byte"), std::string::npos);
}

TEST(VocabularyCodec, ValidatesIdsAndScores) {
  const auto failure = [](const std::function<void(Vocabulary&)>& change) {
    Vocabulary vocabulary = test::RandomVocabulary(2, 20);
    change(vocabulary);
    const Status status = ValidateVocabulary(vocabulary, 20);
    EXPECT_EQ(DecodeFailure(EncodeVocabulary(vocabulary), 20),
              status ? "" : status.error().message);
    return status ? "" : status.error().message;
  };
  EXPECT_EQ(failure([](Vocabulary&) {}), "");
  EXPECT_EQ(failure([](Vocabulary& vocabulary) { vocabulary.tokens.emplace_back(); }),
            "vocabulary: 21 tokens for a model of 20");
  EXPECT_EQ(failure([](Vocabulary& vocabulary) { vocabulary.padding = -2; }),
            "vocabulary: special token -2 is not one of the 20 tokens");
  EXPECT_EQ(failure([](Vocabulary& vocabulary) { vocabulary.end_of_generation = {3, 20}; }),
            "vocabulary: end of generation 20 is not one of the 20 tokens");
  EXPECT_EQ(failure([](Vocabulary& vocabulary) { vocabulary.end_of_generation = {3, 2}; }),
            "vocabulary: ids that end an answer are not sorted");
  EXPECT_EQ(failure([](Vocabulary& vocabulary) { vocabulary.merges[3].left = -1; }),
            "vocabulary: merge of -1 is not one of the 20 tokens");
  EXPECT_EQ(failure([](Vocabulary& vocabulary) { vocabulary.merges[3].right = 20; }),
            "vocabulary: merge of 20 is not one of the 20 tokens");
  EXPECT_EQ(failure([](Vocabulary& vocabulary) { vocabulary.merges[3].result = 20; }),
            "vocabulary: merge into 20 is not one of the 20 tokens");
  EXPECT_EQ(failure([](Vocabulary& vocabulary) {
              vocabulary.tokens[4].text = std::string(1, 'x');
              vocabulary.tokens[4].score = std::nanf("");
            }),
            "vocabulary: the score of token \"x\" is NaN");
}

}  // namespace
}  // namespace etch::image
