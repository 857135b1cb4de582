#include "rtl/rom.h"

namespace etch::rtl {

int64_t Rom::Grow(int64_t words) {
  const int64_t first = size();
  data_.resize(data_.size() + static_cast<size_t>(words * parts_));
  return first;
}

void Rom::Put(int64_t word, int64_t at, uint64_t value, int64_t bits) {
  const uint64_t low = value & ((uint64_t{1} << bits) - 1);
  const auto index = static_cast<size_t>(word * parts_ + at / 32);
  const uint64_t shifted = low << (at % 32);
  data_[index] |= static_cast<uint32_t>(shifted);
  if (at % 32 + bits > 32) {
    data_[index + 1] |= static_cast<uint32_t>(shifted >> 32);
  }
}

uint64_t Rom::Get(int64_t word, int64_t at, int64_t bits) const {
  const auto index = static_cast<size_t>(word * parts_ + at / 32);
  uint64_t value = data_[index];
  if (at % 32 + bits > 32) {
    value |= uint64_t{data_[index + 1]} << 32;
  }
  return (value >> (at % 32)) & ((uint64_t{1} << bits) - 1);
}

void Rom::Add(uint64_t value) {
  const int64_t word = Grow(1);
  for (int64_t at = 0; at < width_; at += 32) {
    Put(word, at, value >> at, std::min<int64_t>(32, width_ - at));
  }
}

std::string Rom::ToHex() const {
  constexpr const char* kDigits = "0123456789abcdef";
  const int64_t digits = (width_ + 3) / 4;
  std::string text;
  text.reserve(static_cast<size_t>(size() * (digits + 1)));
  for (int64_t word = 0; word < size(); ++word) {
    const uint32_t* parts = data_.data() + word * parts_;
    for (int64_t digit = digits - 1; digit >= 0; --digit) {
      text += kDigits[(parts[digit / 8] >> (digit % 8 * 4)) & 15U];
    }
    text += '\n';
  }
  return text;
}

}  // namespace etch::rtl
