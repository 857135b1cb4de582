#pragma once

// What is trained: named float matrices in one array, so that the optimiser, checkpoints and sums
// over processes see one vector.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace etch::tune {

class Parameters {
 public:
  struct Tensor {
    std::string name;
    int64_t rows = 0;
    int64_t cols = 0;
    bool decays = true;  // weight decay acts on it
    int64_t offset = 0;  // of its first value, a multiple of kAlignment
    int64_t size() const { return rows * cols; }
  };
  static constexpr int64_t kAlignment = 16;  // values

  // Adds a matrix of zeros; returns its index.
  int64_t Add(std::string name, int64_t rows, int64_t cols, bool decays);

  const std::vector<Tensor>& tensors() const { return tensors_; }
  // All values; between tensors lie zeros.
  std::span<float> values() { return values_; }
  std::span<const float> values() const { return values_; }
  int64_t size() const { return static_cast<int64_t>(values_.size()); }

  std::span<float> Of(int64_t index) { return Part(values_, index); }
  std::span<const float> Of(int64_t index) const {
    return Part(std::span<const float>(values_), index);
  }
  // The part of an array laid out like values() that belongs to a tensor.
  template <class T>
  std::span<T> Part(std::span<T> all, int64_t index) const {
    const Tensor& tensor = tensors_[static_cast<size_t>(index)];
    return all.subspan(static_cast<size_t>(tensor.offset), static_cast<size_t>(tensor.size()));
  }

 private:
  std::span<float> Part(std::vector<float>& all, int64_t index) {
    return Part(std::span<float>(all), index);
  }

  std::vector<Tensor> tensors_;
  std::vector<float> values_;
};

}  // namespace etch::tune
