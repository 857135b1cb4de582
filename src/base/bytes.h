#pragma once

// Reading untrusted bytes: on-disk integers that need no alignment, and the one place where offsets
// and sizes of a file are checked (CheckedRange, ByteReader). Mapped bytes are never cast to native
// structs.

#include <bit>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/error.h"

namespace etch {

using Bytes = std::span<const std::byte>;

static_assert(std::endian::native == std::endian::little, "Etch runs on little-endian machines");

// A little-endian T as it lies in a file: no alignment, no padding.
template <class T>
  requires std::is_trivially_copyable_v<T>
class LittleEndian {
 public:
  LittleEndian() = default;
  LittleEndian(T value) { std::memcpy(bytes_, &value, sizeof value); }  // NOLINT: implicit
  operator T() const {                                                  // NOLINT: implicit
    T value;
    std::memcpy(&value, bytes_, sizeof value);
    return value;
  }

 private:
  unsigned char bytes_[sizeof(T)] = {};
};

// Reads a T at `offset`; the caller has checked that it lies inside.
template <class T>
T LoadLittleEndian(Bytes bytes, size_t offset) {
  ETCH_DCHECK(offset + sizeof(T) <= bytes.size());
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

// bytes[offset, offset + size), or kMalformed naming `what` when it does not lie inside. Never
// overflows.
Result<Bytes> CheckedRange(Bytes bytes, uint64_t offset, uint64_t size, std::string_view what);

// a * b, or kMalformed naming `what` on overflow.
Result<uint64_t> CheckedProduct(uint64_t a, uint64_t b, std::string_view what);

// Text over bytes, without a copy.
inline std::string_view AsText(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
inline Bytes AsBytes(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

// Reads a byte string front to back; every read is checked. Errors are kMalformed and name `what`
// and the position.
class ByteReader {
 public:
  explicit ByteReader(Bytes bytes, std::string_view what) : bytes_(bytes), what_(what) {}

  template <class T>
  Result<T> Read() {
    ETCH_ASSIGN_OR_RETURN(Bytes raw, ReadBytes(sizeof(T)));
    return LoadLittleEndian<T>(raw, 0);
  }
  Result<Bytes> ReadBytes(uint64_t size);
  // A u32 length, then that many bytes.
  Result<std::string> ReadString32();

  size_t position() const { return position_; }
  size_t remaining() const { return bytes_.size() - position_; }

 private:
  Bytes bytes_;
  std::string what_;
  size_t position_ = 0;
};

// The writing counterpart of ByteReader.
class ByteWriter {
 public:
  template <class T>
    requires std::is_trivially_copyable_v<T>
  void Write(T value) {
    const auto* raw = reinterpret_cast<const std::byte*>(&value);
    bytes_.insert(bytes_.end(), raw, raw + sizeof value);
  }
  void WriteBytes(Bytes bytes) { bytes_.insert(bytes_.end(), bytes.begin(), bytes.end()); }
  void WriteString32(std::string_view text) {
    ETCH_CHECK(text.size() <= UINT32_MAX);
    Write(static_cast<uint32_t>(text.size()));
    WriteBytes(AsBytes(text));
  }
  void PadTo(size_t alignment) {
    bytes_.resize((bytes_.size() + alignment - 1) / alignment * alignment);
  }

  const std::vector<std::byte>& bytes() const { return bytes_; }
  std::vector<std::byte> Take() { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
};

// "1.23 GB": decimal units, three significant digits.
std::string HumanBytes(double bytes);

}  // namespace etch
