#include "tune/data/pack.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "tune/data/order.h"

namespace etch::tune {
namespace {

// A sample of `size` tokens, all of them `id`, trained behind the first.
Sample Uniform(TokenId id, size_t size) {
  Sample sample{std::vector<TokenId>(size, id), std::vector<uint8_t>(size, 1), id};
  sample.trained[0] = 0;
  return sample;
}

std::vector<Sample> RandomSamples(int64_t count, uint64_t longest, uint64_t seed) {
  SplitMix random(seed);
  std::vector<Sample> samples;
  for (int64_t id = 0; id < count; ++id) {
    samples.push_back(Uniform(static_cast<TokenId>(id), 1 + random.Below(longest)));
  }
  return samples;
}

std::vector<Sequence> MustPack(const std::vector<Sample>& samples, int64_t length, uint64_t seed) {
  const auto packed = PackSamples(samples, length, seed);
  EXPECT_TRUE(packed) << (packed ? "" : packed.error().message);
  return packed.value_or(std::vector<Sequence>());
}

TEST(Pack, KeepsEverySampleWholeAndOnce) {
  const std::vector<Sample> samples = RandomSamples(500, 100, 1);
  std::map<TokenId, size_t> seen;
  for (const Sequence& sequence : MustPack(samples, 128, 7)) {
    ASSERT_LE(sequence.tokens.size(), 128U);
    ASSERT_EQ(sequence.trained.size(), sequence.tokens.size());
    ASSERT_EQ(sequence.segment_starts.at(0), 0);
    for (size_t segment = 0; segment < sequence.segment_starts.size(); ++segment) {
      const auto begin = static_cast<size_t>(sequence.segment_starts[segment]);
      const size_t end = segment + 1 < sequence.segment_starts.size()
                             ? static_cast<size_t>(sequence.segment_starts[segment + 1])
                             : sequence.tokens.size();
      const Sample& sample = samples[static_cast<size_t>(sequence.tokens[begin])];
      EXPECT_EQ(std::vector<TokenId>(sequence.tokens.begin() + static_cast<int64_t>(begin),
                                     sequence.tokens.begin() + static_cast<int64_t>(end)),
                sample.tokens);
      EXPECT_EQ(std::vector<uint8_t>(sequence.trained.begin() + static_cast<int64_t>(begin),
                                     sequence.trained.begin() + static_cast<int64_t>(end)),
                sample.trained);
      ++seen[sequence.tokens[begin]];
    }
  }
  EXPECT_EQ(seen.size(), samples.size());
  EXPECT_TRUE(std::ranges::all_of(seen, [](const auto& entry) { return entry.second == 1; }));
}

TEST(Pack, WastesLittle) {
  for (uint64_t seed = 0; seed < 5; ++seed) {
    const std::vector<Sample> samples = RandomSamples(1000, 64, seed);
    const auto tokens = std::accumulate(
        samples.begin(), samples.end(), size_t{0},
        [](size_t sum, const Sample& sample) { return sum + sample.tokens.size(); });
    const size_t fewest = (tokens + 127) / 128;
    EXPECT_LE(MustPack(samples, 128, seed).size(), fewest * 11 / 9 + 1);
  }
}

TEST(Pack, FitsByHand) {
  const std::vector<Sample> samples = {Uniform(0, 6), Uniform(1, 5), Uniform(2, 4), Uniform(3, 5)};
  std::vector<Sequence> packed = MustPack(samples, 10, 3);
  ASSERT_EQ(packed.size(), 2U);
  std::ranges::sort(packed, {}, [](const Sequence& sequence) { return sequence.tokens[0]; });
  EXPECT_EQ(packed[0].tokens, (std::vector<TokenId>{0, 0, 0, 0, 0, 0, 2, 2, 2, 2}));
  EXPECT_EQ(packed[0].trained, (std::vector<uint8_t>{0, 1, 1, 1, 1, 1, 0, 1, 1, 1}));
  EXPECT_EQ(packed[0].segment_starts, (std::vector<int64_t>{0, 6}));
}

TEST(Pack, FollowsFromItsSeed) {
  const std::vector<Sample> samples = RandomSamples(50, 60, 2);
  const auto tokens = [&](uint64_t seed) {
    std::vector<std::vector<TokenId>> all;
    for (const Sequence& sequence : MustPack(samples, 64, seed)) {
      all.push_back(sequence.tokens);
    }
    return all;
  };
  EXPECT_EQ(tokens(1), tokens(1));
  EXPECT_NE(tokens(1), tokens(2));
}

TEST(Pack, RefusesWhatDoesNotFit) {
  const auto refused = PackSamples(std::vector<Sample>{Uniform(3, 11)}, 10, 0);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(refused.error().message,
            "the row of line 3 has 11 tokens and does not fit into sequences of 10");
  EXPECT_TRUE(MustPack({}, 10, 0).empty());
  EXPECT_EQ(MustPack({Uniform(3, 10)}, 10, 0).size(), 1U);
}

TEST(Pack, StartsOfSegmentsAreNeverTargets) {
  Sample sample = Uniform(1, 3);
  sample.trained[0] = 1;
  EXPECT_EQ(MustPack({sample}, 8, 0)[0].trained, (std::vector<uint8_t>{0, 1, 1}));
}

TEST(Pack, CanBeLeftOut) {
  const std::vector<Sample> samples = RandomSamples(5, 9, 3);
  const std::vector<Sequence> sequences = UnpackedSequences(samples);
  ASSERT_EQ(sequences.size(), 5U);
  for (size_t index = 0; index < 5; ++index) {
    EXPECT_EQ(sequences[index].tokens, samples[index].tokens);
    EXPECT_EQ(sequences[index].segment_starts, std::vector<int64_t>{0});
  }
}

}  // namespace
}  // namespace etch::tune
