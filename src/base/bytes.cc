#include "base/bytes.h"

#include <array>

namespace etch {

Result<Bytes> CheckedRange(Bytes bytes, uint64_t offset, uint64_t size, std::string_view what) {
  if (offset > bytes.size() || size > bytes.size() - offset) {
    return Fail(ErrorCode::kMalformed, "{} needs {} bytes at byte {}, but the file has {}", what,
                size, offset, bytes.size());
  }
  return bytes.subspan(offset, size);
}

Result<uint64_t> CheckedProduct(uint64_t a, uint64_t b, std::string_view what) {
  uint64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) {
    return Fail(ErrorCode::kMalformed, "{}: {} times {} is too large", what, a, b);
  }
  return product;
}

Result<Bytes> ByteReader::ReadBytes(uint64_t size) {
  if (size > remaining()) {
    return Fail(ErrorCode::kMalformed, "{} ends at byte {}, {} more are needed at byte {}", what_,
                bytes_.size(), size - remaining(), position_);
  }
  const Bytes read = bytes_.subspan(position_, size);
  position_ += size;
  return read;
}

Result<std::string> ByteReader::ReadString32() {
  ETCH_ASSIGN_OR_RETURN(const uint32_t size, Read<uint32_t>());
  ETCH_ASSIGN_OR_RETURN(const Bytes raw, ReadBytes(size));
  return std::string(AsText(raw));
}

std::string HumanBytes(double bytes) {
  constexpr std::array<const char*, 7> kUnits = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
  // From 999.5 on, three digits would be printed as 1e+03.
  constexpr double kNextUnit = 999.5;
  size_t unit = 0;
  while (bytes >= kNextUnit && unit + 1 < kUnits.size()) {
    bytes /= 1000.0;
    ++unit;
  }
  return unit == 0 ? fmt::format("{:.0f} B", bytes) : fmt::format("{:.3g} {}", bytes, kUnits[unit]);
}

}  // namespace etch
