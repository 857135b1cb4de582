#include "tune/parameters.h"

#include <utility>

namespace etch::tune {

int64_t Parameters::Add(std::string name, int64_t rows, int64_t cols, bool decays) {
  const int64_t offset = size();
  tensors_.push_back({std::move(name), rows, cols, decays, offset});
  const int64_t end = offset + rows * cols;
  values_.resize(static_cast<size_t>((end + kAlignment - 1) / kAlignment * kAlignment));
  return static_cast<int64_t>(tensors_.size()) - 1;
}

}  // namespace etch::tune
