#include "numerics/activation.h"

#include <algorithm>
#include <cstdlib>

#include "base/error.h"
#include "numerics/fixed_point.h"

namespace etch::numerics {
namespace {

template <class T>
uint64_t MaxMagnitude(std::span<const T> values) {
  uint64_t largest = 0;
  for (const T value : values) {
    largest = std::max(largest, static_cast<uint64_t>(std::abs(int64_t{value})));
  }
  return largest;
}

template <class T>
void QuantizeVector(std::span<const T> values, int point, ActivationFormat format,
                    Activation& out) {
  const auto size = static_cast<int64_t>(values.size());
  const int64_t blocks = (size + kBlock - 1) / kBlock;
  out.format = format;
  out.point = point;
  out.max_shift = 0;
  out.codes.assign(static_cast<size_t>(blocks * kBlock), 0);
  out.shifts.resize(static_cast<size_t>(blocks));
  const auto block_values = [&](int64_t block) {
    const int64_t begin = block * kBlock;
    return values.subspan(static_cast<size_t>(begin),
                          static_cast<size_t>(std::min(kBlock, size - begin)));
  };
  for (int64_t block = 0; block < blocks; ++block) {
    const int shift = BlockShift(MaxMagnitude(block_values(block)), MaxCode(format));
    out.shifts[static_cast<size_t>(block)] = static_cast<uint8_t>(shift);
    out.max_shift = std::max(out.max_shift, shift);
  }
  for (int64_t block = 0; block < blocks; ++block) {
    uint8_t& shift = out.shifts[static_cast<size_t>(block)];
    shift = static_cast<uint8_t>(std::max<int>(shift, out.max_shift - kMaxShiftSpread));
    const std::span<const T> source = block_values(block);
    for (size_t index = 0; index < source.size(); ++index) {
      out.codes[static_cast<size_t>(block * kBlock) + index] =
          static_cast<int16_t>(RoundShiftRight(source[index], shift));
    }
  }
}

}  // namespace

int BlockShift(uint64_t max_magnitude, int32_t max_code) {
  int shift = std::max(0, BitLength(max_magnitude) - BitLength(static_cast<uint64_t>(max_code)));
  while (RoundShiftRight(static_cast<int64_t>(max_magnitude), shift) > max_code) {
    ++shift;
  }
  return shift;
}

void QuantizeActivation(std::span<const int32_t> values, ActivationFormat format, Activation& out) {
  QuantizeVector(values, kPoint, format, out);
}

void QuantizeActivation(std::span<const int64_t> values, int point, ActivationFormat format,
                        Activation& out) {
  QuantizeVector(values, point, format, out);
}

uint8_t QuantizeBlock(std::span<const int32_t> values, int32_t max_code, std::span<int16_t> codes) {
  ETCH_DCHECK(values.size() == codes.size() && values.size() <= kBlock);
  const int shift = BlockShift(MaxMagnitude(values), max_code);
  for (size_t index = 0; index < values.size(); ++index) {
    codes[index] = static_cast<int16_t>(RoundShiftRight(values[index], shift));
  }
  return static_cast<uint8_t>(shift);
}

}  // namespace etch::numerics
