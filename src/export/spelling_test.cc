#include "export/spelling.h"

#include <gtest/gtest.h>

#include "export/tiny_vocabulary_test.h"
#include "text/tokenizer.h"

namespace etch::exporting {
namespace {

using model::Merge;
using model::Vocabulary;
using testing::ByteLevelVocabulary;
using testing::ErrorOf;
using testing::SentencePieceVocabulary;

bool Same(const Merge& left, const Merge& right) {
  return left.left == right.left && left.right == right.right && left.result == right.result;
}

TEST(Spelling, EveryByteHasItsCharacter) {
  EXPECT_EQ(ToByteAlphabet(" the\n"), "\xC4\xA0the\xC4\x8A");
  for (int byte = 0; byte < 256; ++byte) {
    const std::string text(1, static_cast<char>(byte));
    EXPECT_EQ(ingest::FromByteAlphabet(ToByteAlphabet(text)), text) << byte;
  }
}

TEST(Spelling, OnlyOrdinaryTokensAreInTheAlphabet) {
  const Vocabulary vocabulary = ByteLevelVocabulary();
  EXPECT_EQ(SpelledToken(vocabulary, 259), "\xC4\xA0w");
  EXPECT_EQ(SpelledToken(vocabulary, 261), "a word");
  EXPECT_EQ(SpelledToken(SentencePieceVocabulary(), 259), "\xE2\x96\x81");
}

TEST(Spelling, MergesOfTheirOwnStay) {
  const Vocabulary vocabulary = ByteLevelVocabulary();
  EXPECT_EQ(MergesOf(vocabulary).size(), vocabulary.merges.size());
  EXPECT_EQ(SpelledMerges(vocabulary).value(),
            (std::vector<std::string>{"h e", "l l", "he ll", "\xC4\xA0 w"}));
}

TEST(Spelling, RanksThatAreIdsBecomeEveryCut) {
  Vocabulary vocabulary = ByteLevelVocabulary();
  vocabulary.merges.clear();
  vocabulary.ranks_are_ids = true;
  const std::vector<Merge> merges = MergesOf(vocabulary);
  // "hell" is cut into "he" and "ll"; "h" and "ell" or "hel" and "l" are no two tokens.
  ASSERT_EQ(merges.size(), 4U);
  EXPECT_TRUE(Same(merges[0], {'h', 'e', 256}));
  EXPECT_TRUE(Same(merges[2], {256, 257, 258}));
}

TEST(Spelling, ScoresBecomeRanksHighestFirst) {
  const std::vector<Merge> merges = MergesOf(SentencePieceVocabulary());
  const auto first = 259;  // "▁"
  ASSERT_EQ(merges.size(), 6U);
  EXPECT_TRUE(Same(merges[0], {first + 1, first + 2, first + 5}));  // h e
  EXPECT_TRUE(Same(merges[2], {first + 5, first + 6, first + 7}));  // he ll
  // "▁hello" is "▁" and "hello"; "▁h" and "ello" is none. A character is never cut.
  EXPECT_TRUE(Same(merges[4], {first, first + 8, first + 9}));
  EXPECT_TRUE(Same(merges[5], {first, first + 1, first + 10}));
}

TEST(Spelling, MergesThatDoNotReadBackAreRefused) {
  Vocabulary vocabulary = ByteLevelVocabulary();
  vocabulary.tokens.push_back({.text = "a wordx"});
  vocabulary.merges.push_back({261, 'x', 262});
  EXPECT_EQ(ErrorOf(SpelledMerges(vocabulary)),
            "unsupported: the merge of tokens 261 and 120 into 262 cannot be written as two texts "
            "(\"a word\" and \"x\")");
  vocabulary = ByteLevelVocabulary();
  vocabulary.tokens.push_back({.text = "he"});
  vocabulary.merges.push_back({262, 257, 258});
  EXPECT_FALSE(SpelledMerges(vocabulary));
}

}  // namespace
}  // namespace etch::exporting
