#include "tune/data/split.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <set>

#include "tune/data/normalize.h"

namespace etch::tune {
namespace {

// `rows` rows; every `same` of them in a row share a prompt, in other words.
Dataset Rows(int64_t rows, int64_t same = 1) {
  Dataset dataset;
  dataset.schema = Schema::kPromptCompletion;
  for (int64_t row = 0; row < rows; ++row) {
    Example example;
    example.line = row + 1;
    const std::string prompt = "Question " + std::to_string(row / same);
    example.messages = {{"user", row % 2 == 0 ? prompt + "?" : "  " + prompt},
                        {"assistant", "Answer " + std::to_string(row)}};
    dataset.examples.push_back(example);
  }
  return dataset;
}

Split MustSplit(const Dataset& dataset, const SplitOptions& options = {}) {
  const Result<Split> split = SplitRows(dataset, options);
  EXPECT_TRUE(split) << (split ? "" : split.error().message);
  return split.value_or(Split());
}

TEST(Split, HoldsOutByTheDefaultRule) {
  const std::vector<std::pair<int64_t, size_t>> expected = {
      {1, 0}, {31, 0}, {32, 16}, {320, 16}, {1000, 50}, {2560, 128}, {5000, 128}};
  for (const auto& [rows, held_out] : expected) {
    EXPECT_EQ(MustSplit(Rows(rows)).validation.size(), held_out) << rows;
  }
}

TEST(Split, HoldsOutTheFractionAskedFor) {
  EXPECT_EQ(MustSplit(Rows(10), {.validation = 0.0}).validation.size(), 0U);
  EXPECT_EQ(MustSplit(Rows(10), {.validation = 0.01}).validation.size(), 1U);
  EXPECT_EQ(MustSplit(Rows(10), {.validation = 0.3}).validation.size(), 3U);
  EXPECT_EQ(MustSplit(Rows(10), {.validation = 0.99}).validation.size(), 9U);
  EXPECT_EQ(MustSplit(Rows(1), {.validation = 0.5}).validation.size(), 0U);
  for (const double fraction : {-0.1, 1.0, 2.0, std::numeric_limits<double>::quiet_NaN()}) {
    const Result<Split> refused = SplitRows(Rows(10), {.validation = fraction});
    ASSERT_FALSE(refused) << fraction;
    EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
    EXPECT_NE(refused.error().message.find("validation part"), std::string::npos);
  }
}

TEST(Split, PutsEachRowOnOneSide) {
  const Split split = MustSplit(Rows(100), {.validation = 0.25});
  std::vector<int64_t> all = split.train;
  all.insert(all.end(), split.validation.begin(), split.validation.end());
  EXPECT_TRUE(std::ranges::is_sorted(split.train));
  EXPECT_TRUE(std::ranges::is_sorted(split.validation));
  std::ranges::sort(all);
  ASSERT_EQ(all.size(), 100U);
  for (int64_t row = 0; row < 100; ++row) {
    EXPECT_EQ(all[static_cast<size_t>(row)], row);
  }
}

TEST(Split, KeepsAPromptTogether) {
  const Dataset dataset = Rows(400, 4);
  const Split split = MustSplit(dataset, {.validation = 0.2});
  EXPECT_EQ(split.validation.size(), 80U);
  std::set<std::string> trained;
  for (const int64_t row : split.train) {
    trained.insert(NormalizedPrompt(dataset.examples[static_cast<size_t>(row)]));
  }
  for (const int64_t row : split.validation) {
    EXPECT_FALSE(trained.contains(NormalizedPrompt(dataset.examples[static_cast<size_t>(row)])));
  }
  EXPECT_TRUE(MustSplit(Rows(400, 400)).validation.empty()) << "all share one prompt";
}

TEST(Split, FollowsFromItsSeed) {
  const Dataset dataset = Rows(200);
  EXPECT_EQ(MustSplit(dataset).validation, MustSplit(dataset).validation);
  EXPECT_NE(MustSplit(dataset, {.seed = 1}).validation, MustSplit(dataset, {.seed = 2}).validation);
}

}  // namespace
}  // namespace etch::tune
