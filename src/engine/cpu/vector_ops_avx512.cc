// The element-wise operations of a layer that GCC 12 makes poor vectors of from plain loops
// (vector_ops-inl.h), with AVX-512 (F, BW, DQ, VL).
//
// What they have in common is a product of two 32-bit integers that needs 64 bits. vpmuldq
// multiplies the signed low halves of eight 64-bit lanes and ignores the upper ones, so a vector of
// sixteen 32-bit values is two operands as it stands: itself for the even elements, and itself
// shifted down by 32 for the odd ones. The compiler extends both factors and takes vpmullq, a full
// 64-bit product, instead.

#include <immintrin.h>

#include <algorithm>

#include "engine/cpu/attend_parts.h"
#include "engine/cpu/kernels_avx512.h"
#include "engine/cpu/lanes_avx512-inl.h"
#include "numerics/fixed_point.h"
#include "numerics/norm.h"

namespace etch::engine::avx512 {
namespace {

using numerics::kMax32;
using numerics::kPoint;

ETCH_INLINE void Store(int32_t* values, __mmask16 lanes, __m512i of) {
  if (lanes == kAllLanes) {
    _mm512_storeu_si512(values, of);
  } else {
    _mm512_mask_storeu_epi32(values, lanes, of);
  }
}

// The lower eight of the lanes.
ETCH_INLINE void Store(int64_t* values, int lanes, __m512i of) {
  if ((lanes & 0xff) == 0xff) {
    _mm512_storeu_si512(values, of);
  } else {
    _mm512_mask_storeu_epi64(values, static_cast<__mmask8>(lanes), of);
  }
}

// The odd elements of 32 bits where vpmuldq wants them.
ETCH_INLINE __m512i Odd(__m512i values) { return _mm512_srli_epi64(values, 32); }

// step(index, lanes) for every sixteen of `count` values; a last one may have fewer lanes.
template <class Step>
ETCH_INLINE void ForVectors(int64_t count, const Step& step) {
  int64_t index = 0;
  for (; index + kLanes <= count; index += kLanes) {
    step(index, kAllLanes);
  }
  if (index < count) {
    step(index, LanesOf(count - index));
  }
}

// The 64 bits at table + entries[0], [2], … [14].
ETCH_INLINE __m512i Pairs(const int32_t* table, const int32_t* entries) {
  const auto two = [&](int at) __attribute__((always_inline)) {
    const auto* low = reinterpret_cast<const __m128i*>(table + entries[at]);
    const auto* high = reinterpret_cast<const __m64*>(table + entries[at + 2]);
    return _mm_castps_si128(_mm_loadh_pi(_mm_castsi128_ps(_mm_loadl_epi64(low)), high));
  };
  const auto four = [&](int at) __attribute__((always_inline)) {
    return _mm256_inserti128_si256(_mm256_castsi128_si256(two(at)), two(at + 4), 1);
  };
  return _mm512_inserti64x4(_mm512_castsi256_si512(four(0)), four(8), 1);
}

// Clamps 64-bit lanes to ±kMax32 and puts the two halves of a vector together again.
ETCH_INLINE __m512i SaturateAndJoin(__m512i even, __m512i odd) {
  const __m512i high = _mm512_set1_epi64(kMax32);
  const __m512i low = _mm512_set1_epi64(-kMax32);
  const __m512i below = _mm512_max_epi64(_mm512_min_epi64(even, high), low);
  const __m512i above = _mm512_max_epi64(_mm512_min_epi64(odd, high), low);
  return _mm512_mask_shuffle_epi32(below, 0xaaaa, above, _MM_PERM_CCAA);
}

}  // namespace

// Both intermediate values fit the 32 bits that vpmuldq reads. The root: |root| ≤ 2^30 + 2
// (docs/numeric-contract.md §14). The unit: let M = m/2^30 in [1, 4) be the contract's argument and
// y its table entry/2^30. Newton's y(3 − M·y²)/2 is at most 1/√M, where it has its maximum, and
// above −1/2 > −1/√M since y ≤ 1; the three roundings add less than 2 units, so |root| < 2^30/√M +
// 2. Since r² ≤ q < 4^k·(M + 2^-30), |r/2^k · root| < √(M + 2^-30)·(2^30/√M + 2) < 2^30 + 6.
void Norm(std::span<const int32_t> x, std::span<const numerics::Gain16> gains, uint64_t epsilon,
          const numerics::FunctionTables& tables, int32_t* y) {
  static_assert(sizeof(numerics::Gain16) == 4);  // mantissa below exponent below a byte of padding
  constexpr int kGainPoint = numerics::kRsqrtBits - kPoint;
  const auto count = static_cast<int64_t>(x.size());
  const int32_t* values = x.data();
  const numerics::Gain16* words = gains.data();
  __m512i exponents = _mm512_set1_epi32(INT32_MIN);  // in the upper byte
  __m512i magnitudes = _mm512_setzero_si512();
  ForVectors(count, [&](int64_t index, __mmask16 lanes) __attribute__((always_inline)) {
    exponents = _mm512_max_epi32(exponents, _mm512_slli_epi32(Load(words + index, lanes), 8));
    magnitudes = _mm512_max_epu32(magnitudes, _mm512_abs_epi32(Load(values + index, lanes)));
  });
  if (_mm512_reduce_max_epi32(exponents) >> 24 > kGainPoint) {
    numerics::RmsNorm(x, gains, epsilon, tables, {y, x.size()});  // a left shift: no trained model
    return;
  }
  const int bits = numerics::BitLength(_mm512_reduce_max_epu32(magnitudes));
  const int shift = bits < 23 ? 0 : bits - 23;
  const Reducer reduce(shift);
  __m512i sums = _mm512_setzero_si512();
  ForVectors(count, [&](int64_t index, __mmask16 lanes) __attribute__((always_inline)) {
    const __m512i even = reduce(Load(values + index, lanes));
    const __m512i odd = Odd(even);
    sums = _mm512_add_epi64(
        sums, _mm512_add_epi64(_mm512_mul_epi32(even, even), _mm512_mul_epi32(odd, odd)));
  });
  const auto squares =
      static_cast<uint64_t>(_mm512_reduce_add_epi64(sums) +
                            numerics::RoundShiftRight(static_cast<int64_t>(epsilon), 2 * shift));
  if (squares == 0) {
    std::fill_n(y, count, 0);
    return;
  }
  const numerics::ReciprocalRoot root = numerics::Rsqrt(squares, tables);
  const __m512i mantissa = _mm512_set1_epi64(root.mantissa);
  const __m512i root_half = _mm512_set1_epi64((int64_t{1} << root.exponent) >> 1);
  const __m128i root_exponent = _mm_cvtsi32_si128(root.exponent);
  const __m512i one = _mm512_set1_epi64(1);
  const auto scale = [&](__m512i reduced, __m512i gain,
                         __m512i down) __attribute__((always_inline)) {
    const __m512i unit = _mm512_sra_epi64(
        _mm512_add_epi64(_mm512_mul_epi32(reduced, mantissa), root_half), root_exponent);
    // 2^down / 2: a shift by the largest unsigned number, for down = 0, leaves nothing.
    const __m512i half = _mm512_sllv_epi64(one, _mm512_sub_epi64(down, one));
    return _mm512_srav_epi64(_mm512_add_epi64(_mm512_mul_epi32(unit, gain), half), down);
  };
  ForVectors(count, [&](int64_t index, __mmask16 lanes) __attribute__((always_inline)) {
    const __m512i reduced = reduce(Load(values + index, lanes));
    const __m512i word = Load(words + index, lanes);
    const __m512i gain = _mm512_srai_epi32(_mm512_slli_epi32(word, 16), 16);
    const __m512i exponent = _mm512_srai_epi32(_mm512_slli_epi32(word, 8), 24);
    // At least 0. A shift of 62 leaves nothing of 46 bits, as every larger one.
    const __m512i down = _mm512_min_epi32(_mm512_sub_epi32(_mm512_set1_epi32(kGainPoint), exponent),
                                          _mm512_set1_epi32(62));
    const __m512i even = scale(reduced, gain, _mm512_and_si512(down, _mm512_set1_epi64(63)));
    const __m512i odd = scale(Odd(reduced), Odd(gain), Odd(down));
    Store(y + index, lanes, SaturateAndJoin(even, odd));
  });
}

// Each element needs two neighbours of the table. Zen 4's gathers, of 32 or of 64 bits, take a
// nanosecond an element for them (2.6 GHz, November 2026), more than twice of all that is left
// here. So entry numbers go through memory, a chunk at a time, and each pair is a load of its own.
void SwiGlu(const int32_t* gate, const int32_t* up, int64_t count,
            const numerics::FunctionTables& tables, int64_t* products) {
  constexpr int32_t kEdge = 16 << kPoint;
  constexpr int kStepBits = 12;
  constexpr int kBits = numerics::kSigmoidBits;
  constexpr int64_t kChunk = 128;
  const int32_t* table = tables.sigmoid.data();
  const __m512i edge = _mm512_set1_epi32(kEdge);
  const __m512i one = _mm512_set1_epi32(1 << kBits);
  const __m512i round_step = _mm512_set1_epi32(1 << (kStepBits - 1));
  const __m512i round_product = _mm512_set1_epi64(1 << (kBits - 1));
  // Of eight even and eight odd elements: the lower eight, the upper.
  const __m512i lower = _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11);
  const __m512i upper = _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15);
  const auto activate = [&](__m512i x, __m512i sigmoid) __attribute__((always_inline)) {
    return _mm512_srai_epi64(_mm512_add_epi64(_mm512_mul_epi32(x, sigmoid), round_product), kBits);
  };
  alignas(64) int32_t entries[kChunk];
  alignas(64) int32_t fractions[kChunk];
  for (int64_t begin = 0; begin < count; begin += kChunk) {
    const int64_t size = count - begin < kChunk ? count - begin : kChunk;
    ForVectors(size, [&](int64_t index, __mmask16 lanes) __attribute__((always_inline)) {
      // From the table's start; below its end, so that entry + 1 is an entry.
      const __m512i x = Load(gate + begin + index, lanes);
      const __m512i offset =
          _mm512_add_epi32(edge, _mm512_max_epi32(_mm512_min_epi32(x, _mm512_set1_epi32(kEdge - 1)),
                                                  _mm512_set1_epi32(-kEdge)));
      _mm512_store_si512(entries + index, _mm512_srli_epi32(offset, kStepBits));
      _mm512_store_si512(fractions + index,
                         _mm512_and_si512(offset, _mm512_set1_epi32((1 << kStepBits) - 1)));
    });
    ForVectors(size, [&](int64_t index, __mmask16 lanes) __attribute__((always_inline)) {
      const __m512i x = Load(gate + begin + index, lanes);
      const __m512i even_pairs = Pairs(table, entries + index);
      const __m512i odd_pairs = Pairs(table, entries + index + 1);
      const __m512i base = _mm512_mask_shuffle_epi32(even_pairs, 0xaaaa, odd_pairs, _MM_PERM_CCAA);
      const __m512i next = _mm512_mask_shuffle_epi32(odd_pairs, 0x5555, even_pairs, _MM_PERM_DDBB);
      // At most 2^16 · 2^12: 32 bits hold it.
      const __m512i scaled =
          _mm512_mullo_epi32(_mm512_sub_epi32(next, base), _mm512_load_si512(fractions + index));
      const __m512i part = _mm512_srli_epi32(_mm512_add_epi32(scaled, round_step), kStepBits);
      // Below the table the entry is 0 with fraction 0, and the contract has table[0] = 0.
      const __m512i sigmoid =
          _mm512_mask_add_epi32(one, _mm512_cmplt_epi32_mask(x, edge), base, part);
      // |activated| ≤ |gate|: 32 bits.
      const __m512i factors = Load(up + begin + index, lanes);
      const __m512i even = _mm512_mul_epi32(activate(x, sigmoid), factors);
      const __m512i odd = _mm512_mul_epi32(activate(Odd(x), Odd(sigmoid)), Odd(factors));
      int64_t* out = products + begin + index;
      Store(out, lanes, _mm512_permutex2var_epi64(even, lower, odd));
      Store(out + 8, lanes >> 8, _mm512_permutex2var_epi64(even, upper, odd));
    });
  }
}

// Products of 31 and 17 bits; two of them fit 2^47.
void Rotate(std::span<const numerics::Rotation> rotations, int32_t* head) {
  static_assert(sizeof(numerics::Rotation) == 8);  // cosine below sine
  const numerics::Rotation* pairs = rotations.data();
  const __m512i half = _mm512_set1_epi64(1 << (numerics::kRotationBits - 1));
  const auto round = [&](__m512i sum) __attribute__((always_inline)) {
    return _mm512_srai_epi64(_mm512_add_epi64(sum, half), numerics::kRotationBits);
  };
  const auto count = 2 * static_cast<int64_t>(rotations.size());
  ForVectors(count, [&](int64_t index, __mmask16 lanes) __attribute__((always_inline)) {
    const __m512i even = Load(head + index, lanes);
    const __m512i odd = Odd(even);
    const __m512i cosine = Load(pairs + index / 2, lanes);
    const __m512i sine = Odd(cosine);
    const __m512i turned_even =
        _mm512_sub_epi64(_mm512_mul_epi32(even, cosine), _mm512_mul_epi32(odd, sine));
    const __m512i turned_odd =
        _mm512_add_epi64(_mm512_mul_epi32(even, sine), _mm512_mul_epi32(odd, cosine));
    Store(head + index, lanes, SaturateAndJoin(round(turned_even), round(turned_odd)));
  });
}

// Sums of 33 bits times a reciprocal of 31: the low half of vpmullq is the product.
void FinishHeadInVectors(const AttendTask& task, int64_t head, uint64_t weight, const int64_t* sums,
                         std::span<const uint8_t> largest_shifts) {
  const HeadEnd ends = EndOf(weight);
  const __m512i reciprocal = _mm512_set1_epi64(ends.reciprocal);
  const __m512i narrow_half = _mm512_set1_epi64(int64_t{1} << (ends.narrow - 1));
  const __m128i narrow = _mm_cvtsi32_si128(ends.narrow);
  int32_t* out = task.out + head * task.head_dim;
  const uint8_t* shift = largest_shifts.data();
  for (int64_t begin = 0; begin < task.head_dim; begin += numerics::kBlock) {
    const int down = HeadEnd::Down(*shift++);
    const __m512i down_half = _mm512_set1_epi64(int64_t{1} << (down - 1));
    const __m128i places = _mm_cvtsi32_si128(down);
    const int64_t end =
        task.head_dim - begin < numerics::kBlock ? task.head_dim : begin + numerics::kBlock;
    for (int64_t channel = begin; channel < end; channel += 8) {
      const __mmask16 lanes = LanesOf(2 * (end - channel));  // of 32 bits
      const __m512i value =
          _mm512_sra_epi64(_mm512_add_epi64(Load(sums + channel, lanes), narrow_half), narrow);
      const __m512i product = _mm512_mullo_epi64(value, reciprocal);
      const __m256i result = _mm256_max_epi32(
          _mm512_cvtsepi64_epi32(_mm512_sra_epi64(_mm512_add_epi64(product, down_half), places)),
          _mm256_set1_epi32(-kMax32));
      if (lanes == kAllLanes) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + channel), result);
      } else {
        _mm256_mask_storeu_epi32(out + channel, static_cast<__mmask8>(LanesOf(end - channel)),
                                 result);
      }
    }
  }
}

}  // namespace etch::engine::avx512
