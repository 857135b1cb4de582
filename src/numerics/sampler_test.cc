#include "numerics/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <vector>

#include "model/config.h"
#include "numerics/attention.h"
#include "numerics/fixed_point.h"

namespace etch::numerics {
namespace {

using ::testing::HasSubstr;

const FunctionTables kTables = BuildFunctionTables();

// Known answers of the authors' Random123 distribution, philox4x32 with 10 rounds.
TEST(Sampler, PhiloxKnownAnswers) {
  using Words = std::array<uint32_t, 4>;
  EXPECT_EQ(Philox({0, 0, 0, 0}, {0, 0}), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  constexpr uint32_t kOnes = 0xffffffff;
  EXPECT_EQ(Philox({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Sampler, GreedyTakesTheLowestIdAmongEquals) {
  EXPECT_EQ(Greedy(std::vector<int32_t>{1, 9, -3, 9}), 1);
  EXPECT_EQ(Greedy(std::vector<int32_t>{-5}), 0);
  EXPECT_EQ(Greedy(std::vector<int32_t>{-kMax32, -kMax32}), 0);
  const SamplingConfig greedy = ToConfig({});
  EXPECT_TRUE(greedy.greedy);
  EXPECT_EQ(Sample(std::vector<int32_t>{1, 9, -3, 9}, greedy, 0, 0, kTables), 1);
  EXPECT_TRUE(ToConfig({1.0, 1, 1.0, 0.0, 0}).greedy);
}

TEST(Sampler, FieldsOutOfRangeAreNamed) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const auto message = [](SamplingParams params) {
    const Status status = Validate(params);
    EXPECT_FALSE(status.has_value());
    return status.has_value() ? std::string() : status.error().message;
  };
  for (const double temperature : {-1.0, 0.009, 100.1, nan}) {
    EXPECT_THAT(message({temperature, 0, 1.0, 0.0, 0}), HasSubstr("temperature"));
  }
  EXPECT_THAT(message({1.0, -1, 1.0, 0.0, 0}), HasSubstr("top_k"));
  for (const double top_p : {0.0, 1.01, nan}) {
    EXPECT_THAT(message({1.0, 0, top_p, 0.0, 0}), HasSubstr("top_p"));
  }
  for (const double min_p : {-0.1, 1.0, nan}) {
    EXPECT_THAT(message({1.0, 0, 1.0, min_p, 0}), HasSubstr("min_p"));
  }
  EXPECT_TRUE(Validate(SamplingParams{0.01, 5, 0.5, 0.99, 7}).has_value());
  EXPECT_TRUE(Validate(SamplingParams{100.0, 0, 1.0, 0.0, 7}).has_value());
}

TEST(Sampler, ParametersBecomeIntegers) {
  const SamplingConfig config = ToConfig({0.01, 40, 0.9, 0.05, 99});
  EXPECT_FALSE(config.greedy);
  EXPECT_EQ(config.inverse_temperature, 9454846U);  // 100 · log2(e) · 2^16
  EXPECT_LT(config.inverse_temperature, 1U << 24);
  EXPECT_EQ(config.top_k, 40);
  EXPECT_EQ(config.top_p, 58982U);
  EXPECT_EQ(config.min_p, 3277U);
  EXPECT_EQ(config.seed, 99U);
  EXPECT_EQ(ToConfig({1.0, 0, 1e-9, 0.0, 0}).top_p, 1U);
}

std::map<int32_t, int> Draw(const std::vector<int32_t>& logits, const SamplingConfig& config,
                            int draws) {
  std::map<int32_t, int> counts;
  for (int step = 0; step < draws; ++step) {
    ++counts[Sample(logits, config, static_cast<uint64_t>(step), 0, kTables)];
  }
  return counts;
}

std::set<int32_t> Tokens(const std::map<int32_t, int>& counts) {
  std::set<int32_t> tokens;
  for (const auto& [token, count] : counts) {
    tokens.insert(token);
  }
  return tokens;
}

// Logits in units of ln 2 at temperature 1: probabilities 1/2, 1/4, 1/8, 1/8.
const std::vector<int32_t> kHalves = {-136279, -136279, -45426 * 2, -45426};

TEST(Sampler, DrawsFollowTheProbabilities) {
  constexpr int kDraws = 40000;
  const std::map<int32_t, int> counts = Draw(kHalves, ToConfig({1.0, 0, 1.0, 0.0, 3}), kDraws);
  const std::vector<double> want = {0.125, 0.125, 0.25, 0.5};
  for (size_t token = 0; token < want.size(); ++token) {
    const double deviation = std::sqrt(kDraws * want[token] * (1 - want[token]));
    EXPECT_NEAR(counts.at(static_cast<int32_t>(token)), kDraws * want[token], 5 * deviation);
  }
}

TEST(Sampler, TruncationsKeepWhatTheySay) {
  const auto tokens = [](SamplingParams params) {
    return Tokens(Draw(kHalves, ToConfig(params), 300));
  };
  EXPECT_EQ(tokens({1.0, 0, 1.0, 0.0, 1}), (std::set<int32_t>{0, 1, 2, 3}));
  EXPECT_EQ(tokens({1.0, 2, 1.0, 0.0, 1}), (std::set<int32_t>{2, 3}));
  EXPECT_EQ(tokens({1.0, 3, 1.0, 0.0, 1}), (std::set<int32_t>{0, 2, 3}));  // ties: lower id first
  EXPECT_EQ(tokens({1.0, 0, 0.49, 0.0, 1}), (std::set<int32_t>{3}));
  EXPECT_EQ(tokens({1.0, 0, 0.6, 0.0, 1}), (std::set<int32_t>{2, 3}));
  EXPECT_EQ(tokens({1.0, 0, 0.8, 0.0, 1}), (std::set<int32_t>{0, 2, 3}));
  EXPECT_EQ(tokens({1.0, 0, 1.0, 0.4, 1}), (std::set<int32_t>{2, 3}));
  EXPECT_EQ(tokens({1.0, 0, 1.0, 0.6, 1}), (std::set<int32_t>{3}));
  // top_k stands before top_p: half of what top_k left is the first token alone.
  EXPECT_EQ(tokens({1.0, 2, 0.66, 0.0, 1}), (std::set<int32_t>{3}));
  EXPECT_EQ(tokens({0.01, 0, 1.0, 0.0, 1}), (std::set<int32_t>{3}));
}

TEST(Sampler, DrawsDependOnSeedStepAndStreamOnly) {
  const std::vector<int32_t> flat(1000, 0);
  const SamplingConfig config = ToConfig({1.0, 0, 1.0, 0.0, 42});
  const int32_t first = Sample(flat, config, 5, 0, kTables);
  EXPECT_EQ(Sample(flat, config, 5, 0, kTables), first);
  EXPECT_NE(Sample(flat, config, 6, 0, kTables), first);
  EXPECT_NE(Sample(flat, config, 5, 1, kTables), first);
  EXPECT_NE(Sample(flat, config, 5 + (uint64_t{1} << 32), 0, kTables), first);
  EXPECT_NE(Sample(flat, ToConfig({1.0, 0, 1.0, 0.0, 43}), 5, 0, kTables), first);
  EXPECT_NE(Sample(flat, ToConfig({1.0, 0, 1.0, 0.0, 42 + (uint64_t{1} << 32)}), 5, 0, kTables),
            first);
}

// Contract §14: the widest gap at the lowest temperature stays below 2^56, and the whole of the
// largest vocabulary at equal weight makes 2^44, times top_p 2^60.
TEST(Sampler, SumsReachTheirBounds) {
  SamplingConfig config = ToConfig({0.01, 0, 1.0, 0.0, 0});
  const std::vector<int32_t> apart = {-kMax32, kMax32};
  EXPECT_LT((uint64_t{kMax32} * 2 * config.inverse_temperature), uint64_t{1} << 56);
  EXPECT_EQ(Sample(apart, config, 0, 0, kTables), 1);
  config = ToConfig({100.0, 0, 1.0, 0.0, 7});
  const std::vector<int32_t> flat(static_cast<size_t>(model::kMaxVocabulary), kMax32);
  const uint64_t total = flat.size() << kExp2Bits;
  EXPECT_EQ(total, uint64_t{1} << 44);
  EXPECT_EQ(total * config.top_p, uint64_t{1} << 60);
  const auto random = Philox({3, 0, 0, 0}, {7, 0});
  const uint64_t draw = (uint64_t{random[1]} << 32) | random[0];
  __extension__ using WideUnsigned = unsigned __int128;
  const auto target = static_cast<uint64_t>((WideUnsigned{draw} * total) >> 64);
  EXPECT_EQ(Sample(flat, config, 3, 0, kTables), static_cast<int32_t>(target >> kExp2Bits));
}

// A mask is as if the other tokens were not in the vocabulary.
TEST(Sampler, ChoosesAmongAllowedTokens) {
  const std::vector<int32_t> logits = {5 << 16, 9 << 16, 9 << 16, INT32_MIN, 1 << 16, 4 << 16};
  const std::vector<uint64_t> mask = {0b110001};
  EXPECT_EQ(Greedy(logits, mask), 0);
  EXPECT_EQ(Greedy(logits, std::vector<uint64_t>{0b001000}), 3);
  const std::vector<int32_t> left = {5 << 16, 1 << 16, 4 << 16};
  const std::vector<int32_t> names = {0, 4, 5};
  for (const SamplingParams& params :
       {SamplingParams{2.0, 0, 1.0, 0.0, 5}, SamplingParams{2.0, 2, 1.0, 0.0, 6},
        SamplingParams{1.0, 0, 0.6, 0.0, 7}, SamplingParams{1.0, 0, 1.0, 0.3, 8}}) {
    for (uint64_t step = 0; step < 200; ++step) {
      const int32_t token = Sample(logits, ToConfig(params), step, 1, kTables, mask);
      const int32_t expected = Sample(left, ToConfig(params), step, 1, kTables);
      EXPECT_EQ(token, names[static_cast<size_t>(expected)]);
    }
  }
}

}  // namespace
}  // namespace etch::numerics
