// The limits of AVX-512 with VNNI: 64-byte loads; vpdpbusd, 64 products and as many adds in one
// instruction. Compiled with -mavx512f -mavx512bw -mavx512vl -mavx512vnni -mavx512vbmi.

#include <immintrin.h>

#include "engine/limits_kernels.h"

namespace etch::engine {
namespace {

// An accumulator waits four or five cycles for its vpdpbusd while one or two start each cycle: ten
// chains keep both busy, twelve leave slack.
constexpr int kChains = 12;

uint64_t Read(const std::byte* data, size_t size) {
  constexpr int kSums = 8;
  constexpr size_t kStep = kSums * sizeof(__m512i);
  __m512i sums[kSums] = {};
  for (size_t offset = 0; offset < size; offset += kStep) {
    const std::byte* vectors = data + offset;
#pragma GCC unroll 8
    for (int index = 0; index < kSums; ++index) {
      sums[index] = _mm512_xor_si512(sums[index], _mm512_load_si512(vectors + index * 64));
    }
  }
#pragma GCC unroll 32
  for (int index = 1; index < kSums; ++index) {
    sums[0] = _mm512_xor_si512(sums[0], sums[index]);
  }
  alignas(64) uint64_t words[8];
  _mm512_store_si512(words, sums[0]);
  uint64_t total = 0;
  for (const uint64_t word : words) {
    total ^= word;
  }
  return total;
}

uint32_t Int8(int64_t rounds, uint8_t a, int8_t b) {
  const __m512i left = _mm512_set1_epi8(static_cast<char>(a));
  const __m512i right = _mm512_set1_epi8(static_cast<char>(b));
  const __m512i zero = _mm512_setzero_si512();
  // Names, not an array, and the instruction itself, volatile: of intrinsics, equal chains become
  // one, and GCC 12 puts two moves around each or stores accumulators to memory every round.
  __m512i s0 = zero, s1 = zero, s2 = zero, s3 = zero, s4 = zero, s5 = zero;
  __m512i s6 = zero, s7 = zero, s8 = zero, s9 = zero, s10 = zero, s11 = zero;
  const auto add = [&](__m512i& sum) {
    __asm__ volatile("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(left), "v"(right));
  };
  for (int64_t round = 0; round < rounds; ++round) {
    add(s0), add(s1), add(s2), add(s3), add(s4), add(s5);
    add(s6), add(s7), add(s8), add(s9), add(s10), add(s11);
  }
  const auto plus = [](__m512i left_sum, __m512i right_sum) {
    return _mm512_add_epi32(left_sum, right_sum);
  };
  const __m512i low = plus(plus(plus(s0, s1), plus(s2, s3)), plus(s4, s5));
  const __m512i high = plus(plus(plus(s6, s7), plus(s8, s9)), plus(s10, s11));
  alignas(64) uint32_t lanes[16];
  _mm512_store_si512(lanes, plus(low, high));
  uint32_t total = 0;
  for (const uint32_t lane : lanes) {
    total += lane;
  }
  return total;
}

}  // namespace

constinit const LimitKernels kAvx512Limits = {"avx512", Read, Int8, 64 * kChains};

}  // namespace etch::engine
