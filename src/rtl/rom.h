#pragma once

// Contents of a memory: words of any width, as $readmemh reads them.

#include <cstdint>
#include <string>
#include <vector>

namespace etch::rtl {

class Rom {
 public:
  explicit Rom(int64_t width) : width_(width), parts_((width + 31) / 32) {}

  int64_t width() const { return width_; }  // bits
  int64_t size() const { return std::ssize(data_) / parts_; }

  // Appends words of zeros; the index of the first.
  int64_t Grow(int64_t words);
  // Bits [at, at + bits) of a word, which are zero; the low `bits` of `value`, at most 32.
  void Put(int64_t word, int64_t at, uint64_t value, int64_t bits);
  uint64_t Get(int64_t word, int64_t at, int64_t bits) const;
  // Appends a word of at most 64 bits.
  void Add(uint64_t value);

  // One word a line, the highest digit first.
  std::string ToHex() const;

 private:
  int64_t width_;
  int64_t parts_;
  std::vector<uint32_t> data_;
};

}  // namespace etch::rtl
