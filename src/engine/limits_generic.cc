// The limits of plain C++: whatever the compiler makes of an exclusive or of words and of a dot
// product of bytes for the oldest processor that it is told to support.

#include "engine/limits_kernels.h"

namespace etch::engine {
namespace {

constexpr size_t kBytes = 4096;  // of each operand: both stay in the first-level cache

uint64_t Read(const std::byte* data, size_t size) {
  constexpr size_t kLanes = 8;
  uint64_t sums[kLanes] = {};
  const auto* words = reinterpret_cast<const uint64_t*>(data);
  for (size_t word = 0; word < size / sizeof(uint64_t); word += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      sums[lane] ^= words[word + lane];
    }
  }
  uint64_t sum = 0;
  for (const uint64_t lane : sums) {
    sum ^= lane;
  }
  return sum;
}

uint32_t Int8(int64_t rounds, uint8_t a, int8_t b) {
  alignas(64) int8_t left[kBytes];
  alignas(64) int8_t right[kBytes];
  for (size_t index = 0; index < kBytes; ++index) {
    left[index] = static_cast<int8_t>(a);
    right[index] = b;
  }
  uint32_t total = 0;
  for (int64_t round = 0; round < rounds; ++round) {
    // The compiler must take both operands for changed: otherwise one round would do for all.
    __asm__ volatile("" : : "r"(left), "r"(right) : "memory");
    int32_t sum = 0;
    for (size_t index = 0; index < kBytes; ++index) {
      sum += int32_t{left[index]} * int32_t{right[index]};
    }
    total += static_cast<uint32_t>(sum);
  }
  return total;
}

}  // namespace

constinit const LimitKernels kGenericLimits = {"generic", Read, Int8, kBytes};

}  // namespace etch::engine
