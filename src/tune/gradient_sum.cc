#include "tune/gradient_sum.h"

#include <algorithm>
#include <bit>

namespace etch::tune {
namespace {

// Where [begin, end), of two passes or more, is cut: behind the largest power of two that leaves
// something.
int64_t Middle(int64_t begin, int64_t end) {
  const auto count = static_cast<uint64_t>(end - begin);
  return begin + static_cast<int64_t>(std::bit_floor(count - 1));
}

}  // namespace

std::vector<float>& GradientSum::Level(size_t level) {
  if (levels_.size() <= level) {
    levels_.resize(level + 1);
    losses_.resize(level + 1);
  }
  levels_[level].resize(size_);
  return levels_[level];
}

void GradientSum::Sum(int64_t begin, int64_t end, size_t level, const PassFn& pass) {
  if (end - begin > 1) {
    const int64_t middle = Middle(begin, end);
    Sum(begin, middle, level, pass);
    Sum(middle, end, level + 1, pass);
    std::vector<float>& sum = levels_[level];
    const std::vector<float>& more = levels_[level + 1];
    for (size_t index = 0; index < size_; ++index) {
      sum[index] += more[index];
    }
    losses_[level] += losses_[level + 1];
    return;
  }
  std::vector<float>& gradients = Level(level);
  std::ranges::fill(gradients, 0.0F);
  losses_[level] = begin < end ? pass(begin, gradients) : 0.0;
}

Status GradientSum::Run(int64_t count, const PassFn& pass) {
  // From the root down to this process's branch.
  int64_t begin = 0;
  int64_t end = count;
  const int rank = group_.rank();
  for (int half = group_.size() / 2; half > 0; half /= 2) {
    const int64_t middle = end - begin > 1 ? Middle(begin, end) : end;
    if ((rank & half) == 0) {
      end = middle;
    } else {
      begin = middle;
    }
  }
  Level(0);
  Sum(begin, end, 0, pass);
  for (int half = 1; half < group_.size(); half *= 2) {
    ETCH_TRY(group_.AddWith(rank ^ half, std::span(levels_[0])));
    ETCH_TRY(group_.AddWith(rank ^ half, std::span(losses_).first(1)));
  }
  return {};
}

}  // namespace etch::tune
