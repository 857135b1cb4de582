#include "tune/data/order.h"

#include <cstddef>
#include <numeric>
#include <utility>

#include "tune/random.h"

namespace etch::tune {

uint64_t SplitMix::Next() {
  const uint64_t value = Mix(state_);
  state_ += kMixStep;
  return value;
}

uint64_t SplitMix::Below(uint64_t bound) {
  // Values above the largest multiple of `bound` would favour small remainders.
  const uint64_t limit = UINT64_MAX - UINT64_MAX % bound;
  while (true) {
    if (const uint64_t value = Next(); value < limit) {
      return value % bound;
    }
  }
}

std::vector<int64_t> EpochOrder(uint64_t seed, int64_t epoch, int64_t count) {
  std::vector<int64_t> order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), int64_t{0});
  // Mixed before they meet, so that (seed, epoch + 1) is no other seed's first epoch.
  SplitMix random(SplitMix(seed).Next() ^ static_cast<uint64_t>(epoch));
  for (size_t left = order.size(); left > 1; --left) {
    std::swap(order[left - 1], order[random.Below(left)]);
  }
  return order;
}

}  // namespace etch::tune
