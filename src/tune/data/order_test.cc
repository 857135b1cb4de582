#include "tune/data/order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

namespace etch::tune {
namespace {

TEST(SplitMix, GivesThePublishedNumbers) {
  // The generator's first outputs for seed 1234567, as its authors' C code prints them.
  SplitMix random(1234567);
  EXPECT_EQ(random.Next(), 6457827717110365317U);
  EXPECT_EQ(random.Next(), 3203168211198807973U);
  EXPECT_EQ(random.Next(), 9817491932198370423U);
}

TEST(SplitMix, IsUniformBelowABound) {
  SplitMix random(1);
  std::vector<int64_t> counts(7);
  for (int draw = 0; draw < 70000; ++draw) {
    ++counts[random.Below(7)];
  }
  for (const int64_t count : counts) {  // six standard deviations of a binomial
    EXPECT_NEAR(static_cast<double>(count), 10000, 6 * std::sqrt(70000.0 / 7 * 6 / 7));
  }
  EXPECT_EQ(random.Below(1), 0U);
}

TEST(EpochOrder, IsAPermutation) {
  for (const int64_t count : {0, 1, 2, 3, 100}) {
    std::vector<int64_t> order = EpochOrder(5, 0, count);
    std::ranges::sort(order);
    std::vector<int64_t> all(static_cast<size_t>(count));
    std::iota(all.begin(), all.end(), int64_t{0});
    EXPECT_EQ(order, all);
  }
}

TEST(EpochOrder, DependsOnSeedAndEpochOnly) {
  EXPECT_EQ(EpochOrder(5, 3, 50), EpochOrder(5, 3, 50));
  std::set<std::vector<int64_t>> orders;
  for (uint64_t seed = 0; seed < 10; ++seed) {
    for (int64_t epoch = 0; epoch < 10; ++epoch) {
      orders.insert(EpochOrder(seed, epoch, 50));
    }
  }
  EXPECT_EQ(orders.size(), 100U);
}

TEST(EpochOrder, PutsEachItemEverywhere) {
  std::set<std::vector<int64_t>> orders;
  for (int64_t epoch = 0; epoch < 200; ++epoch) {
    orders.insert(EpochOrder(1, epoch, 3));
  }
  EXPECT_EQ(orders.size(), 6U);
}

}  // namespace
}  // namespace etch::tune
