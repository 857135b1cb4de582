#pragma once

// Sixteen values of 32 bits in a register, for the translation units of the AVX-512 set that work
// element by element. Always inlined: such a unit may not leave symbols that another could use.
// Included after <immintrin.h>, which no header brings.

#include <cstdint>

#define ETCH_INLINE inline __attribute__((always_inline))

namespace etch::engine::avx512 {

constexpr int64_t kLanes = 16;
constexpr auto kAllLanes = static_cast<__mmask16>(0xffff);

// The first of sixteen lanes that `count` values fill.
ETCH_INLINE __mmask16 LanesOf(int64_t count) {
  return count >= kLanes ? kAllLanes
         : count <= 0    ? __mmask16{0}
                         : static_cast<__mmask16>((1 << count) - 1);
}

// Sixteen lanes of 32 bits, zero beyond the mask.
ETCH_INLINE __m512i Load(const void* values, __mmask16 lanes) {
  return lanes == kAllLanes ? _mm512_loadu_si512(values) : _mm512_maskz_loadu_epi32(lanes, values);
}

// round(value / 2^shift) of 32-bit lanes for any shift from 0 on, without a branch:
// ((v >> (s-1)) + 1) >> 1 for s ≥ 1, ((v >> 0) + 0) >> 0 for 0.
class Reducer {
 public:
  explicit ETCH_INLINE Reducer(int shift)
      : first_(_mm_cvtsi32_si128(shift == 0 ? 0 : shift - 1)),
        second_(_mm_cvtsi32_si128(shift == 0 ? 0 : 1)),
        half_(_mm512_set1_epi32(shift == 0 ? 0 : 1)) {}
  ETCH_INLINE __m512i operator()(__m512i values) const {
    return _mm512_sra_epi32(_mm512_add_epi32(_mm512_sra_epi32(values, first_), half_), second_);
  }

 private:
  __m128i first_;
  __m128i second_;
  __m512i half_;
};

}  // namespace etch::engine::avx512
