#include "eval/evaluate.h"

#include <gtest/gtest.h>

#include <cmath>

namespace etch::eval {
namespace {

using Windows = std::vector<std::vector<engine::TokenId>>;

TEST(CutWindows, AreDisjointAndBeginWithBos) {
  const std::vector<engine::TokenId> tokens = {10, 11, 12, 13, 14};
  EXPECT_EQ(CutWindows(tokens, 1, 3), (Windows{{1, 10, 11}, {1, 12, 13}, {1, 14}}));
  EXPECT_EQ(CutWindows(tokens, model::kNoToken, 3), (Windows{{10, 11, 12}, {13, 14}}));
  // A window of one token predicts nothing.
  EXPECT_EQ(CutWindows(tokens, model::kNoToken, 4), (Windows{{10, 11, 12, 13}}));
  EXPECT_TRUE(CutWindows({}, 1, 3).empty());
}

TEST(Score, AddsUp) {
  Score score{2, 3.0, 0.5, 0.4, 1, 2};
  score.Add({2, 1.0, 0.3, 0.2, 2, 2});
  EXPECT_EQ(score.tokens, 4);
  EXPECT_DOUBLE_EQ(score.nll(), 1.0);
  EXPECT_DOUBLE_EQ(score.perplexity(), std::exp(1.0));
  EXPECT_DOUBLE_EQ(score.kl(), 0.2);
  EXPECT_DOUBLE_EQ(score.kl_max, 0.4);
  EXPECT_DOUBLE_EQ(score.same_top_share(), 0.75);
  EXPECT_DOUBLE_EQ(Score().kl(), 0.0);
}

}  // namespace
}  // namespace etch::eval
