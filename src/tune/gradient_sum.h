#pragma once

// The gradient of one step: the sum over the passes of a batch, in an order that depends on their
// number alone. Passes are the leaves of a binary tree, and a group of processes shares the tree by
// its upper branches: one process and many give the same bits.

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/error.h"
#include "tune/group.h"

namespace etch::tune {

class GradientSum {
 public:
  // Of `size` parameters.
  GradientSum(Group& group, int64_t size) : group_(group), size_(static_cast<size_t>(size)) {}

  // Adds the gradient of pass `index` to the span, which holds zeros, and returns the pass's loss.
  using PassFn = std::function<double(int64_t index, std::span<float> gradients)>;

  // The sum over passes 0 … count-1; gradients() and loss() hold it in every process afterwards.
  Status Run(int64_t count, const PassFn& pass);

  std::span<const float> gradients() const { return levels_[0]; }
  double loss() const { return losses_[0]; }

 private:
  // Passes [begin, end), into level `level`.
  void Sum(int64_t begin, int64_t end, size_t level, const PassFn& pass);
  std::vector<float>& Level(size_t level);

  Group& group_;
  size_t size_;
  std::vector<std::vector<float>> levels_;
  std::vector<double> losses_;
};

}  // namespace etch::tune
