#pragma once

// Bytes that begin at a cache line, for what vector kernels read.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

namespace etch {

class AlignedBuffer {
 public:
  static constexpr size_t kAlignment = 64;

  // At least `size` bytes, zero when they are new; what the buffer held is lost when it grows.
  void Grow(int64_t size) {
    if (size > size_) {
      const auto rounded = (static_cast<size_t>(size) + kAlignment - 1) / kAlignment * kAlignment;
      size_ = 0;
      bytes_.reset(static_cast<std::byte*>(std::aligned_alloc(kAlignment, rounded)));
      if (!bytes_) {
        throw std::bad_alloc();
      }
      std::fill_n(bytes_.get(), rounded, std::byte{0});
      size_ = static_cast<int64_t>(rounded);
    }
  }

  std::byte* data() { return bytes_.get(); }
  const std::byte* data() const { return bytes_.get(); }
  int64_t size() const { return size_; }

  // The buffer as an array; it holds at least `count` of T afterwards.
  template <class T>
  T* As(int64_t count) {
    Grow(count * static_cast<int64_t>(sizeof(T)));
    return reinterpret_cast<T*>(bytes_.get());
  }

 private:
  struct Free {
    void operator()(std::byte* bytes) const { std::free(bytes); }
  };
  std::unique_ptr<std::byte, Free> bytes_;
  int64_t size_ = 0;
};

}  // namespace etch
