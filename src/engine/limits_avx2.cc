// The limits of AVX2: 32-byte loads; vpmaddubsw, vpmaddwd and vpaddd for products of bytes.
// Compiled with -mavx2.

#include <immintrin.h>

#include "engine/limits_kernels.h"

namespace etch::engine {
namespace {

// Each accumulator waits one cycle for its vpaddd; two or three multiplies start a cycle and each
// takes four or five, but they do not depend on an accumulator. Eight chains and three operands
// leave registers for the products on their way.
constexpr int kChains = 8;

uint64_t Read(const std::byte* data, size_t size) {
  constexpr int kSums = 8;
  constexpr size_t kStep = kSums * sizeof(__m256i);
  __m256i sums[kSums] = {};
  for (size_t offset = 0; offset < size; offset += kStep) {
    const auto* vectors = reinterpret_cast<const __m256i*>(data + offset);
#pragma GCC unroll 8
    for (int index = 0; index < kSums; ++index) {
      sums[index] = _mm256_xor_si256(sums[index], _mm256_load_si256(vectors + index));
    }
  }
#pragma GCC unroll 32
  for (int index = 1; index < kSums; ++index) {
    sums[0] = _mm256_xor_si256(sums[0], sums[index]);
  }
  alignas(32) uint64_t words[4];
  _mm256_store_si256(reinterpret_cast<__m256i*>(words), sums[0]);
  return words[0] ^ words[1] ^ words[2] ^ words[3];
}

uint32_t Int8(int64_t rounds, uint8_t a, int8_t b) {
  const __m256i left = _mm256_set1_epi8(static_cast<char>(a));
  const __m256i right = _mm256_set1_epi8(static_cast<char>(b));
  const __m256i ones = _mm256_set1_epi16(1);
  const __m256i zero = _mm256_setzero_si256();
  // Names, not an array, and the instructions themselves, volatile: of intrinsics, equal chains
  // become one, products move out of the loop, and GCC 12 stores accumulators to memory every
  // round.
  __m256i s0 = zero, s1 = zero, s2 = zero, s3 = zero, s4 = zero, s5 = zero, s6 = zero, s7 = zero;
  const auto add = [&](__m256i& sum) {
    __m256i products;
    __asm__ volatile(
        "vpmaddubsw %3, %2, %1\n\t"
        "vpmaddwd %4, %1, %1\n\t"
        "vpaddd %1, %0, %0"
        : "+x"(sum), "=&x"(products)
        : "x"(left), "x"(right), "x"(ones));
  };
  for (int64_t round = 0; round < rounds; ++round) {
    add(s0), add(s1), add(s2), add(s3), add(s4), add(s5), add(s6), add(s7);
  }
  const auto plus = [](__m256i left_sum, __m256i right_sum) {
    return _mm256_add_epi32(left_sum, right_sum);
  };
  const __m256i low = plus(plus(s0, s1), plus(s2, s3));
  const __m256i high = plus(plus(s4, s5), plus(s6, s7));
  alignas(32) uint32_t lanes[8];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), plus(low, high));
  uint32_t total = 0;
  for (const uint32_t lane : lanes) {
    total += lane;
  }
  return total;
}

}  // namespace

constinit const LimitKernels kAvx2Limits = {"avx2", Read, Int8, 32 * kChains};

}  // namespace etch::engine
