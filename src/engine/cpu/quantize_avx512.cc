// Quantisation to block formats with AVX-512 (F, BW, DQ, VL, VBMI): columns of a panel, and heads.
//
// A column takes two passes, since its largest shift is in every record. What is reduced within a
// block, magnitudes and sums of codes, is reduced for four blocks at a time: a tree over four
// registers needs a third of the steps that each would on its own.

#include <immintrin.h>

#include <cstddef>
#include <span>
#include <type_traits>

#include "engine/cpu/block_shift-inl.h"
#include "engine/cpu/kernels_avx512.h"
#include "engine/cpu/lanes_avx512-inl.h"
#include "model/config.h"
#include "numerics/fixed_point.h"

namespace etch::engine::avx512 {
namespace {

using numerics::ActivationFormat;
using numerics::kBlock;

constexpr int64_t kBlocks = 4;  // at a time

// Four lanes: lane i = the sixteen lanes of v[i] joined.
template <class Join>
ETCH_INLINE __m128i ReduceFour(const __m512i* v, const Join& join) {
  const __m512i first = join(_mm512_unpacklo_epi32(v[0], v[1]), _mm512_unpackhi_epi32(v[0], v[1]));
  const __m512i second = join(_mm512_unpacklo_epi32(v[2], v[3]), _mm512_unpackhi_epi32(v[2], v[3]));
  const __m512i quarters =
      join(_mm512_unpacklo_epi64(first, second), _mm512_unpackhi_epi64(first, second));
  const __m512i halves = join(quarters, _mm512_shuffle_i32x4(quarters, quarters, 0x4e));
  return _mm512_castsi512_si128(join(halves, _mm512_shuffle_i32x4(halves, halves, 0xb1)));
}

// The 32 values of a block of which `left` exist; the others are zero.
ETCH_INLINE void LoadBlock(const int32_t* values, int64_t left, __m512i (&v)[2]) {
  v[0] = Load(values, LanesOf(left));
  v[1] = Load(values + kLanes, LanesOf(left - kLanes));
}
ETCH_INLINE void LoadBlock(const int64_t* values, int64_t left, __m512i (&v)[4]) {
  for (int64_t part = 0; part < 4; ++part) {
    v[part] = Load(values + 8 * part, LanesOf(2 * (left - 8 * part)));
  }
}

// The largest magnitude of each of four blocks.
ETCH_INLINE void StoreMagnitudes(const __m512i (&v)[kBlocks][2], uint32_t* largest) {
  const auto join = [](__m512i a, __m512i b)
                        __attribute__((always_inline)) { return _mm512_max_epu32(a, b); };
  __m512i of[kBlocks];
  for (int64_t block = 0; block < kBlocks; ++block) {
    of[block] = join(_mm512_abs_epi32(v[block][0]), _mm512_abs_epi32(v[block][1]));
  }
  _mm_storeu_si128(reinterpret_cast<__m128i*>(largest), ReduceFour(of, join));
}
ETCH_INLINE void StoreMagnitudes(const __m512i (&v)[kBlocks][4], uint64_t* largest) {
  const auto join = [](__m512i a, __m512i b)
                        __attribute__((always_inline)) { return _mm512_max_epu64(a, b); };
  __m512i of[kBlocks];
  for (int64_t block = 0; block < kBlocks; ++block) {
    const __m512i* parts = v[block];
    of[block] = join(join(_mm512_abs_epi64(parts[0]), _mm512_abs_epi64(parts[1])),
                     join(_mm512_abs_epi64(parts[2]), _mm512_abs_epi64(parts[3])));
  }
  // Each quarter has blocks 0 1, or 2 3; then the quarters have 0 1, 0 1, 2 3, 2 3.
  const __m512i first =
      join(_mm512_unpacklo_epi64(of[0], of[1]), _mm512_unpackhi_epi64(of[0], of[1]));
  const __m512i second =
      join(_mm512_unpacklo_epi64(of[2], of[3]), _mm512_unpackhi_epi64(of[2], of[3]));
  const __m512i halves =
      join(_mm512_shuffle_i64x2(first, second, 0x44), _mm512_shuffle_i64x2(first, second, 0xee));
  const __m512i all = join(halves, _mm512_shuffle_i64x2(halves, halves, 0xb1));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(largest),
                      _mm512_castsi512_si256(_mm512_shuffle_i64x2(all, all, 0x08)));
}

// BlockShift() of sixteen magnitudes below 2^31, and of eight below 2^62. The place of the highest
// bit is the exponent of the magnitude as a float, rounded towards zero; zero has the least of all.
ETCH_INLINE __m512i BlockShifts(const uint32_t* largest, int64_t left, int32_t max_code) {
  const __m512i magnitudes = Load(largest, LanesOf(left));
  const __m512i least = _mm512_set1_epi32(numerics::BitLength(static_cast<uint64_t>(max_code)) - 1);
  const __m512i highest = _mm512_cvttps_epi32(_mm512_getexp_ps(
      _mm512_cvt_roundepu32_ps(magnitudes, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC)));
  const __m512i shift = _mm512_sub_epi32(_mm512_max_epi32(highest, least), least);
  const __m512i one = _mm512_set1_epi32(1);
  const __m512i half = _mm512_srli_epi32(_mm512_sllv_epi32(one, shift), 1);
  const __m512i rounded = _mm512_srlv_epi32(_mm512_add_epi32(magnitudes, half), shift);
  const __mmask16 above = _mm512_cmpgt_epu32_mask(rounded, _mm512_set1_epi32(max_code));
  return _mm512_mask_add_epi32(shift, above, shift, one);
}
ETCH_INLINE __m256i BlockShifts(const uint64_t* largest, int64_t left, int32_t max_code) {
  const __m512i magnitudes = Load(largest, LanesOf(2 * left));
  const __m512i least = _mm512_set1_epi64(numerics::BitLength(static_cast<uint64_t>(max_code)) - 1);
  const __m512i highest = _mm512_cvttpd_epi64(_mm512_getexp_pd(
      _mm512_cvt_roundepu64_pd(magnitudes, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC)));
  const __m512i shift = _mm512_sub_epi64(_mm512_max_epi64(highest, least), least);
  const __m512i one = _mm512_set1_epi64(1);
  const __m512i half = _mm512_srli_epi64(_mm512_sllv_epi64(one, shift), 1);
  const __m512i rounded = _mm512_srlv_epi64(_mm512_add_epi64(magnitudes, half), shift);
  const __mmask8 above = _mm512_cmpgt_epu64_mask(rounded, _mm512_set1_epi64(max_code));
  return _mm512_cvtepi64_epi32(_mm512_mask_add_epi64(shift, above, shift, one));
}

// The shifts of all blocks, before the spread rule; returns the largest. Whole registers are
// written, zeros beyond the last block.
ETCH_INLINE int32_t FindShifts(const uint32_t* largest, int64_t groups, int32_t max_code,
                               int32_t* shifts) {
  __m512i most = _mm512_setzero_si512();
  for (int64_t block = 0; block < groups; block += 16) {
    const __m512i found = BlockShifts(largest + block, groups - block, max_code);
    _mm512_storeu_si512(shifts + block, found);
    most = _mm512_max_epi32(most, found);
  }
  return _mm512_reduce_max_epi32(most);
}
ETCH_INLINE int32_t FindShifts(const uint64_t* largest, int64_t groups, int32_t max_code,
                               int32_t* shifts) {
  __m256i most = _mm256_setzero_si256();
  for (int64_t block = 0; block < groups; block += 8) {
    const __m256i found = BlockShifts(largest + block, groups - block, max_code);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(shifts + block), found);
    most = _mm256_max_epi32(most, found);
  }
  return _mm512_reduce_max_epi32(_mm512_zextsi256_si512(most));
}

// A block's codes in 32-bit lanes.
ETCH_INLINE void RoundBlock(const __m512i (&v)[2], int shift, __m512i (&codes)[2]) {
  // As Reducer has it, of a shift in a register.
  const __m512i all = _mm512_set1_epi32(shift);
  const __m512i one = _mm512_min_epu32(all, _mm512_set1_epi32(1));
  const __m512i first = _mm512_sub_epi32(all, one);
  const auto round = [&](__m512i of) __attribute__((always_inline)) {
    return _mm512_srav_epi32(_mm512_add_epi32(_mm512_srav_epi32(of, first), one), one);
  };
  codes[0] = round(v[0]);
  codes[1] = round(v[1]);
}
ETCH_INLINE void RoundBlock(const __m512i (&v)[4], int shift, __m512i (&codes)[2]) {
  const __m512i half = _mm512_set1_epi64((int64_t{1} << shift) >> 1);
  const __m128i places = _mm_cvtsi32_si128(shift);
  const auto round = [&](__m512i of) __attribute__((always_inline)) {
    return _mm512_sra_epi64(_mm512_add_epi64(of, half), places);
  };
  const __m512i low_halves =
      _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  codes[0] = _mm512_permutex2var_epi32(round(v[0]), low_halves, round(v[1]));
  codes[1] = _mm512_permutex2var_epi32(round(v[2]), low_halves, round(v[3]));
}

// Byte `which` of each lane of two registers.
ETCH_INLINE __m256i BytesOf(__m512i low, __m512i high, int which) {
  const __m512i index =
      _mm512_add_epi8(_mm512_castsi256_si512(_mm256_setr_epi8(
                          0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60, 64, 68, 72,
                          76, 80, 84, 88, 92, 96, 100, 104, 108, 112, 116, 120, 124)),
                      _mm512_set1_epi8(static_cast<char>(which)));
  return _mm512_castsi512_si256(_mm512_permutex2var_epi8(low, index, high));
}

// The codes of a record: bytes, or the two planes of A16, of which the upper is that of code + 128.
template <bool kWide>
ETCH_INLINE void WriteCodes(const __m512i (&codes)[2], std::byte* record) {
  auto* planes = reinterpret_cast<__m256i*>(record);
  _mm256_storeu_si256(planes, BytesOf(codes[0], codes[1], 0));
  if constexpr (kWide) {
    const __m512i half = _mm512_set1_epi32(128);
    _mm256_storeu_si256(
        planes + 1, BytesOf(_mm512_add_epi32(codes[0], half), _mm512_add_epi32(codes[1], half), 1));
  }
}

// The terms of four records from the sums of their codes and from their alignments, as four rows of
// (bias, half, shift, 0).
ETCH_INLINE void MakeTerms(__m128i sums, __m128i aligned, __m128i (&terms)[kBlocks]) {
  const __m128i zero = _mm_setzero_si128();
  const __m128i bias = _mm_sub_epi32(zero, _mm_slli_epi32(sums, 5));
  const __m128i half = _mm_srli_epi32(_mm_sllv_epi32(_mm_set1_epi32(1), aligned), 1);
  const __m128i low_left = _mm_unpacklo_epi32(bias, half);
  const __m128i low_right = _mm_unpacklo_epi32(aligned, zero);
  const __m128i high_left = _mm_unpackhi_epi32(bias, half);
  const __m128i high_right = _mm_unpackhi_epi32(aligned, zero);
  terms[0] = _mm_unpacklo_epi64(low_left, low_right);
  terms[1] = _mm_unpackhi_epi64(low_left, low_right);
  terms[2] = _mm_unpacklo_epi64(high_left, high_right);
  terms[3] = _mm_unpackhi_epi64(high_left, high_right);
}

// act(first block, values that exist from it on) for every four blocks of a column.
template <class Act>
ETCH_INLINE void ForFourBlocks(int64_t width, const Act& act) {
  int64_t from = 0;
  for (; from + kBlocks * kBlock <= width; from += kBlocks * kBlock) {
    act(from / kBlock, kBlocks * kBlock);
  }
  if (from < width) {
    act(from / kBlock, width - from);
  }
}

template <bool kWide, class T>
void QuantizeColumn(const T* values, int64_t column, InputPanel& panel) {
  using Magnitude = std::make_unsigned_t<T>;
  constexpr int64_t kRegisters = sizeof(T) / 2;  // of a block
  constexpr int64_t kMostBlocks = model::kMaxFfnDim / kBlock + kLanes;
  const int32_t limit = kWide ? numerics::kMaxA16 : numerics::kMaxA8;
  std::byte* const records = panel.Record(column, 0);
  const int64_t stride = panel.RecordStride(column);
  const auto load = [&](int64_t block, int64_t left, __m512i(&v)[kBlocks][kRegisters])
                        __attribute__((always_inline)) {
                          for (int64_t of = 0; of < kBlocks; ++of) {
                            LoadBlock(values + (block + of) * kBlock, left - of * kBlock, v[of]);
                          }
                        };
  Magnitude magnitudes[kMostBlocks];
  ForFourBlocks(panel.width(), [&](int64_t block, int64_t left) __attribute__((always_inline)) {
    __m512i v[kBlocks][kRegisters];
    load(block, left, v);
    StoreMagnitudes(v, magnitudes + block);
  });
  int32_t shifts[kMostBlocks];
  const int32_t largest = FindShifts(magnitudes, panel.groups(), limit, shifts);
  const int32_t lowest = largest - numerics::kMaxShiftSpread;
  ForFourBlocks(panel.width(), [&](int64_t block, int64_t left) __attribute__((always_inline)) {
    __m512i v[kBlocks][kRegisters];
    load(block, left, v);
    const int64_t count = (left + kBlock - 1) / kBlock;
    std::byte* const record = records + block * stride;
    __m512i sums[kBlocks];
    for (int64_t of = 0; of < kBlocks; ++of) {
      const int32_t shift = shifts[block + of] > lowest ? shifts[block + of] : lowest;
      __m512i codes[2];
      RoundBlock(v[of], shift, codes);
      sums[of] = _mm512_add_epi32(codes[0], codes[1]);
      if (of < count) {
        WriteCodes<kWide>(codes, record + of * stride);
      }
    }
    const __m128i sum = ReduceFour(sums, [](__m512i a, __m512i b) __attribute__((always_inline)) {
      return _mm512_add_epi32(a, b);
    });
    const __m128i shift = _mm_max_epi32(
        _mm_loadu_si128(reinterpret_cast<const __m128i*>(shifts + block)), _mm_set1_epi32(lowest));
    __m128i terms[kBlocks];
    MakeTerms(sum, _mm_sub_epi32(_mm_set1_epi32(largest + (kWide ? 8 : 0)), shift), terms);
    for (int64_t of = 0; of < count; ++of) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(record + of * stride + (kWide ? 64 : 32)),
                       terms[of]);
    }
  });
  panel.SetMaxShift(column, largest);
}

}  // namespace

void QuantizeWide(const int32_t* values, int64_t column, InputPanel& panel) {
  if (panel.format() == ActivationFormat::kA8) {
    QuantizeColumn<false>(values, column, panel);
  } else {
    QuantizeColumn<true>(values, column, panel);
  }
}

void QuantizeWide(const int64_t* products, int64_t column, InputPanel& panel) {
  if (panel.format() == ActivationFormat::kA8) {
    QuantizeColumn<false>(products, column, panel);
  } else {
    QuantizeColumn<true>(products, column, panel);
  }
}

void QuantizeHead(std::span<const int32_t> values, int32_t max_code, int16_t* codes,
                  uint8_t* shifts) {
  const auto count = static_cast<int64_t>(values.size());
  const int32_t* next = values.data();
  for (int64_t left = count; left > 0; left -= numerics::kBlock) {
    const __mmask16 low_lanes = LanesOf(left);
    const __mmask16 high_lanes = LanesOf(left - kLanes);
    const __m512i low = Load(next, low_lanes);
    const __m512i high = Load(next + kLanes, high_lanes);
    const __m512i magnitudes = _mm512_max_epu32(_mm512_abs_epi32(low), _mm512_abs_epi32(high));
    const int shift = BlockShift(_mm512_reduce_max_epu32(magnitudes), max_code);
    const Reducer reduce(shift);
    _mm512_mask_cvtepi32_storeu_epi16(codes, low_lanes, reduce(low));
    _mm512_mask_cvtepi32_storeu_epi16(codes + kLanes, high_lanes, reduce(high));
    *shifts++ = static_cast<uint8_t>(shift);
    next += numerics::kBlock;
    codes += numerics::kBlock;
  }
}

}  // namespace etch::engine::avx512
