#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <numeric>
#include <set>
#include <thread>
#include <utility>
#include <vector>

namespace etch {
namespace {

// How often each index was visited, with the ranges that did it.
struct Visits {
  std::vector<int> counts;
  std::vector<std::pair<int64_t, int64_t>> ranges;
};

Visits Visit(ThreadPool& pool, int64_t count, int64_t grain) {
  Visits visits;
  visits.counts.assign(static_cast<size_t>(count), 0);
  std::mutex mutex;
  pool.ParallelFor(count, grain, [&](int64_t begin, int64_t end) {
    for (int64_t index = begin; index < end; ++index) {
      ++visits.counts[static_cast<size_t>(index)];
    }
    const std::scoped_lock lock(mutex);
    visits.ranges.emplace_back(begin, end);
  });
  return visits;
}

TEST(ThreadPool, VisitsEveryIndexOnceForAllThreadsCountsAndGrains) {
  for (const int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    ASSERT_EQ(pool.threads(), threads);
    for (const int64_t count : {1, 2, 7, 15, 16, 17, 63, 64, 65, 1000, 4099}) {
      for (const int64_t grain : {1, 2, 3, 16, 64, 5000}) {
        const Visits visits = Visit(pool, count, grain);
        EXPECT_TRUE(std::all_of(visits.counts.begin(), visits.counts.end(),
                                [](int visited) { return visited == 1; }))
            << threads << " threads, count " << count << ", grain " << grain;
        for (const auto& [begin, end] : visits.ranges) {
          EXPECT_LT(begin, end);
          EXPECT_EQ(begin % grain, 0);
          EXPECT_TRUE(end == count || (end - begin) % grain == 0)
              << begin << " to " << end << " of " << count << ", grain " << grain;
        }
      }
    }
  }
}

TEST(ThreadPool, RangesStayWithinPartsOfTheLengthItGives) {
  for (const int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    for (int64_t wanted = 1; wanted < 300; wanted += 7) {
      const int64_t length = pool.PartLength(wanted);
      EXPECT_GE(length, wanted);
      EXPECT_LE(length, wanted + 64);
      for (const auto& [begin, end] : Visit(pool, threads * length, 1).ranges) {
        // One thread takes all at once.
        EXPECT_TRUE(threads == 1 || begin / length == (end - 1) / length)
            << begin << " to " << end << ", parts of " << length;
      }
    }
  }
}

TEST(ThreadPool, DoesNothingForAnEmptyLoop) {
  ThreadPool pool(2);
  const auto fail = [](int64_t, int64_t) { FAIL() << "called"; };
  pool.ParallelFor(0, 1, fail);
  pool.ParallelFor(-5, 1, fail);
}

TEST(ThreadPool, ReturnsOnlyWhenAllWorkIsDoneAndCanBeUsedAgainAtOnce) {
  constexpr int kLoops = 20'000;
  constexpr int64_t kCount = 37;
  ThreadPool pool(4);
  std::vector<int64_t> values(kCount, 0);
  for (int loop = 0; loop < kLoops; ++loop) {
    // Plain writes: a loop that returned early, or a worker that ran late, would lose or repeat
    // one.
    pool.ParallelFor(kCount, 1, [&](int64_t begin, int64_t end) {
      for (int64_t index = begin; index < end; ++index) {
        values[static_cast<size_t>(index)] += index;
      }
    });
  }
  for (int64_t index = 0; index < kCount; ++index) {
    ASSERT_EQ(values[static_cast<size_t>(index)], index * kLoops);
  }
}

TEST(ThreadPool, StartsAndStopsManyTimes) {
  for (int round = 0; round < 200; ++round) {
    ThreadPool pool(1 + round % 5);
    if (round % 3 != 0) {
      std::atomic<int64_t> sum = 0;
      pool.ParallelFor(100, 1, [&](int64_t begin, int64_t end) { sum += end - begin; });
      ASSERT_EQ(sum.load(), 100);
    }
  }
}

TEST(ThreadPool, UsesItsWorkers) {
  ThreadPool pool(2);
  std::mutex mutex;
  std::set<std::thread::id> seen;
  std::atomic<int> arrived = 0;
  // The caller and one worker wait for each other; a pool that ran alone would never return.
  pool.ParallelFor(2, 1, [&](int64_t, int64_t) {
    ++arrived;
    arrived.notify_all();
    for (int now = arrived.load(); now < 2; now = arrived.load()) {
      arrived.wait(now);
    }
    const std::scoped_lock lock(mutex);
    seen.insert(std::this_thread::get_id());
  });
  EXPECT_EQ(seen.size(), 2U);
}

TEST(ThreadPool, TakesOneThreadForEachProcessorByDefault) {
  const ThreadPool pool(0);
  EXPECT_GE(pool.threads(), 1);
}

TEST(ThreadPoolDeathTest, RefusesAGrainOfZero) {
  ThreadPool pool(1);
  EXPECT_DEATH(pool.ParallelFor(3, 0, [](int64_t, int64_t) {}), "grain is 0");
}

}  // namespace
}  // namespace etch
