// Matrix times columns with AVX2: the sixteen rows of a tile are two registers ("halves") of eight
// 32-bit lanes.
//
// A half of a group (8 rows × 32 columns) is eight registers of 32 levels, one byte each. There is
// no 8-bit dot product, so there are two ways to P:
//
//   bytes   A8 input with W3, W6 or W4F. Levels are raised by 32 and so unsigned, 0 … 63;
//   vpmaddubsw
//           multiplies them by the input's signed codes and adds neighbours: at most 2 · 63 · 128 =
//           16,128, and two of these still fit 16 bits (32,256). vpmaddwd by ones widens the pair
//           of them to the lane's 32 bits. The bias of the input's record takes the 32 back.
//   words   A16 input, and W8. Levels and codes are widened to 16 bits, those of the even columns
//           and those of the odd ones apart (a shift each, no shuffle), and vpmaddwd is exact for
//           any of them: 2 · 128 · 32,639 < 2^31.
//
// Rejected for W8 with A8: vpmaddubsw of |level| by vpsignb(code, level). It is exact too, even for
// the -128 that only a hostile file holds, but a sign a product makes it as many instructions as
// words; and for A16 it is not, since the low plane reaches -128, which has no negative.
//
// W3 levels come from vpshufb: sixteen entries are both tables of eight, index = code | table << 3.
// vpshufb reads bits 0-3 and gives 0 for bit 7, so one mask clears bits 3 and 7 and leaves bits 4-6
// as they fall.
//
// One column (decoding): the weights stream from memory once, prefetched (read_ahead.h). Many
// columns: a group is unpacked once for up to kBlockColumns columns, whose sums and inputs stream
// through the caches.

#include <immintrin.h>

#include <cstring>

#include "engine/cpu/finish_rows.h"
#include "engine/cpu/kernels_avx2.h"
#include "engine/cpu/read_ahead.h"
#include "numerics/linear.h"

namespace etch::engine::avx2 {
namespace {

using numerics::ActivationFormat;
using numerics::WeightFormat;
using numerics::WeightView;

constexpr int kVectors = 8;
constexpr int kHalves = 2;
constexpr int kHalfRows = 8;
constexpr int kRows = kHalves * kHalfRows;

#define ETCH_INLINE inline __attribute__((always_inline))

ETCH_INLINE __m256i Load(const void* bytes) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(bytes));
}

ETCH_INLINE __m256i BroadcastWord(const void* bytes) {
  int32_t word = 0;
  std::memcpy(&word, bytes, sizeof word);
  return _mm256_set1_epi32(word);
}

// Eight bytes whose byte i holds a nibble for row i (low) and one for row i + 8 (high).
ETCH_INLINE __m256i Nibbles(const uint8_t* bytes, int half) {
  const __m256i wide =
      _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes)));
  return _mm256_and_si256(half == 0 ? wide : _mm256_srli_epi32(wide, 4), _mm256_set1_epi32(15));
}

// All ones in the lanes whose row has its bit set; bit r of `bits` belongs to row r of the half.
ETCH_INLINE __m256i MaskOfBits(int32_t bits) {
  const __m256i own = _mm256_set_epi32(128, 64, 32, 16, 8, 4, 2, 1);
  return _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(bits), own), own);
}

// A format unpacks half a group: eight registers of levels, raised by kRaised, and the scales (W4F:
// halvings) of the rows. Round() is round(P · scale / 2^shift) under the terms of the input's
// record.
struct W3 {
  static constexpr int64_t kParamBytes = 12;
  static constexpr int64_t kCodeBytes = 192;
  static constexpr int kRaised = 32;

  explicit W3(const WeightView& view) {
    int64_t tables[2];
    static_assert(sizeof tables == sizeof view.levels->levels);
    std::memcpy(tables, view.levels->levels.data(), sizeof tables);
    lookup = _mm256_add_epi8(_mm256_broadcastsi128_si256(_mm_set_epi64x(tables[1], tables[0])),
                             _mm256_set1_epi8(kRaised));
  }

  ETCH_INLINE void Unpack(const uint8_t* params, const uint8_t* codes, int half,
                          __m256i* levels) const {
    const __m256i table = _mm256_and_si256(MaskOfBits(params[half]), _mm256_set1_epi8(8));
    const __m256i plane0 = Load(codes + 32 * half);
    const __m256i plane1 = Load(codes + 64 + 32 * half);
    const __m256i plane2 = Load(codes + 128 + 32 * half);
    const auto level = [&](__m256i index) {
      return _mm256_shuffle_epi8(lookup, _mm256_or_si256(index, table));
    };
    const __m256i read = _mm256_set1_epi8(0x77);
    const auto low = [&](__m256i plane) { return level(_mm256_and_si256(plane, read)); };
    const auto high = [&](__m256i plane) { return low(_mm256_srli_epi16(plane, 3)); };
    levels[0] = low(plane0);
    levels[1] = high(plane0);
    levels[2] = low(plane1);
    levels[3] = high(plane1);
    levels[4] = low(plane2);
    levels[5] = high(plane2);
    const __m256i two = _mm256_set1_epi8(3);
    const __m256i third = _mm256_set1_epi8(4);
    const auto split = [&](__m256i pair, __m256i top) {
      return level(_mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(pair, 6), two),
                                   _mm256_and_si256(top, third)));
    };
    levels[6] = split(plane0, _mm256_srli_epi16(plane2, 4));
    levels[7] = split(plane1, _mm256_srli_epi16(plane2, 5));
  }
  ETCH_INLINE static __m256i Scale(const uint8_t* params, int half) {
    const __m256i upper = MaskOfBits(params[2 + half]);
    return _mm256_add_epi32(Nibbles(params + 4, half),
                            _mm256_andnot_si256(upper, _mm256_set1_epi32(-16)));
  }
  ETCH_INLINE static __m256i Round(__m256i products, __m256i scale, const std::byte* terms) {
    const __m256i scaled = _mm256_mullo_epi32(products, scale);
    return _mm256_srav_epi32(_mm256_add_epi32(scaled, BroadcastWord(terms + 4)),
                             BroadcastWord(terms + 8));
  }

  __m256i lookup;
};

struct W6 {
  static constexpr int64_t kParamBytes = 12;
  static constexpr int64_t kCodeBytes = 384;
  static constexpr int kRaised = 32;

  explicit W6(const WeightView& /*view*/) {}

  ETCH_INLINE void Unpack(const uint8_t* /*params*/, const uint8_t* codes, int half,
                          __m256i* levels) const {
    const __m256i low4 = _mm256_set1_epi8(15);
    const __m256i bits45 = _mm256_set1_epi8(0x30);
    for (int upper = 0; upper < 2; ++upper) {
      const __m256i pairs = Load(codes + 256 + 64 * upper + 32 * half);
      const __m256i at_bit4[4] = {_mm256_slli_epi16(pairs, 4), _mm256_slli_epi16(pairs, 2), pairs,
                                  _mm256_srli_epi16(pairs, 2)};
      for (int vector = 0; vector < 4; ++vector) {
        __m256i low = Load(codes + 64 * vector + 32 * half);
        if (upper == 1) {
          low = _mm256_srli_epi16(low, 4);
        }
        levels[4 * upper + vector] =
            _mm256_or_si256(_mm256_and_si256(low, low4), _mm256_and_si256(at_bit4[vector], bits45));
      }
    }
  }
  ETCH_INLINE static __m256i Scale(const uint8_t* params, int half) {
    // Byte i of the last four: rows i, i+4, i+8, i+12 from the lowest pair of bits up.
    const __m256i shifts = _mm256_add_epi32(_mm256_set_epi32(26, 18, 10, 2, 24, 16, 8, 0),
                                            _mm256_set1_epi32(4 * half));
    const __m256i high = _mm256_and_si256(_mm256_srlv_epi32(BroadcastWord(params + 8), shifts),
                                          _mm256_set1_epi32(3));
    return _mm256_or_si256(Nibbles(params, half), _mm256_slli_epi32(high, 4));
  }
  ETCH_INLINE static __m256i Round(__m256i products, __m256i scale, const std::byte* terms) {
    // Two guard bits more than the record's shift has.
    const __m256i half =
        _mm256_max_epi32(_mm256_slli_epi32(BroadcastWord(terms + 4), 2), _mm256_set1_epi32(2));
    const __m256i shift = _mm256_add_epi32(BroadcastWord(terms + 8), _mm256_set1_epi32(2));
    return _mm256_srav_epi32(_mm256_add_epi32(_mm256_mullo_epi32(products, scale), half), shift);
  }
};

struct W8 {
  static constexpr int64_t kParamBytes = 0;
  static constexpr int64_t kCodeBytes = 512;
  static constexpr int kRaised = 0;  // signed: words only

  explicit W8(const WeightView& /*view*/) {}

  ETCH_INLINE void Unpack(const uint8_t* /*params*/, const uint8_t* codes, int half,
                          __m256i* levels) const {
    for (int vector = 0; vector < kVectors; ++vector) {
      levels[vector] = Load(codes + 64 * vector + 32 * half);
    }
  }
  ETCH_INLINE static __m256i Scale(const uint8_t* /*params*/, int /*half*/) {
    return _mm256_setzero_si256();
  }
  ETCH_INLINE static __m256i Round(__m256i products, __m256i /*scale*/, const std::byte* terms) {
    return _mm256_srav_epi32(_mm256_add_epi32(products, BroadcastWord(terms + 4)),
                             BroadcastWord(terms + 8));
  }
};

struct W4F {
  static constexpr int64_t kParamBytes = 8;
  static constexpr int64_t kCodeBytes = 256;
  static constexpr int kRaised = 32;

  explicit W4F(const WeightView& /*view*/) {
    static_assert(sizeof(numerics::kFloatLevels) == sizeof(__m128i));
    __m128i levels;
    std::memcpy(&levels, numerics::kFloatLevels.data(), sizeof levels);
    lookup = _mm256_add_epi8(_mm256_broadcastsi128_si256(levels), _mm256_set1_epi8(kRaised));
  }

  ETCH_INLINE void Unpack(const uint8_t* /*params*/, const uint8_t* codes, int half,
                          __m256i* levels) const {
    const __m256i low4 = _mm256_set1_epi8(15);
    for (int vector = 0; vector < 4; ++vector) {
      const __m256i plane = Load(codes + 64 * vector + 32 * half);
      levels[vector] = _mm256_shuffle_epi8(lookup, _mm256_and_si256(plane, low4));
      levels[vector + 4] =
          _mm256_shuffle_epi8(lookup, _mm256_and_si256(_mm256_srli_epi16(plane, 4), low4));
    }
  }
  // The halvings of each row, which join the shift.
  ETCH_INLINE static __m256i Scale(const uint8_t* params, int half) {
    return Nibbles(params, half);
  }
  ETCH_INLINE static __m256i Round(__m256i products, __m256i halvings, const std::byte* terms) {
    // |S| < 2^29, so that from a shift of 30 on nothing is left; 31 does for all that are larger.
    const __m256i shift = _mm256_min_epi32(_mm256_add_epi32(BroadcastWord(terms + 8), halvings),
                                           _mm256_set1_epi32(31));
    const __m256i half = _mm256_srli_epi32(_mm256_sllv_epi32(_mm256_set1_epi32(1), shift), 1);
    const __m256i raised = _mm256_slli_epi32(products, numerics::GuardBits(WeightFormat::kW4F));
    return _mm256_srav_epi32(_mm256_add_epi32(raised, half), shift);
  }

  __m256i lookup;
};

// The bytes of even places and those of odd places, as signed words.
ETCH_INLINE __m256i EvenWords(__m256i bytes) {
  return _mm256_srai_epi16(_mm256_slli_epi16(bytes, 8), 8);
}
ETCH_INLINE __m256i OddWords(__m256i bytes) { return _mm256_srai_epi16(bytes, 8); }

// Half a group as bytes, ready for A8 inputs.
template <class Format>
struct ByteLevels {
  __m256i levels[kVectors];
  __m256i scale;

  ETCH_INLINE ByteLevels(const Format& format, const uint8_t* params, const uint8_t* codes,
                         int half) {
    format.Unpack(params, codes, half, levels);
    scale = Format::Scale(params, half);
  }

  // What the group of one column adds to the sums of eight rows.
  ETCH_INLINE __m256i GroupSum(const std::byte* record) const {
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i sums[2] = {BroadcastWord(record + 32), _mm256_setzero_si256()};
    for (int vector = 0; vector < kVectors; vector += 2) {
      const __m256i pair = _mm256_add_epi16(
          _mm256_maddubs_epi16(levels[vector], BroadcastWord(record + 4 * vector)),
          _mm256_maddubs_epi16(levels[vector + 1], BroadcastWord(record + 4 * vector + 4)));
      __m256i& sum = sums[vector / 2 % 2];
      sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pair, ones));
    }
    return Format::Round(_mm256_add_epi32(sums[0], sums[1]), scale, record + 32);
  }
};

// Half a group as words.
template <class Format>
struct WordLevels {
  __m256i even[kVectors];
  __m256i odd[kVectors];
  __m256i scale;

  ETCH_INLINE void Unpack(const Format& format, const uint8_t* params, const uint8_t* codes,
                          int half) {
    __m256i levels[kVectors];
    format.Unpack(params, codes, half, levels);
    for (int vector = 0; vector < kVectors; ++vector) {
      const __m256i level = _mm256_sub_epi8(levels[vector], _mm256_set1_epi8(Format::kRaised));
      even[vector] = EvenWords(level);
      odd[vector] = OddWords(level);
    }
    scale = Format::Scale(params, half);
  }
};

// The codes of one group of one column in the order of WordLevels: word pair `v` belongs to vector
// v, columns 0 and 2 (even) or 1 and 3 (odd).
struct WordCodes {
  alignas(32) std::byte even[32];
  alignas(32) std::byte odd[32];
};

template <bool kWide>
ETCH_INLINE void ExpandCodes(const std::byte* record, WordCodes& codes) {
  const __m256i low = Load(record);
  __m256i even = EvenWords(low);
  __m256i odd = OddWords(low);
  if constexpr (kWide) {
    const __m256i high = Load(record + 32);
    even = _mm256_add_epi16(even, _mm256_slli_epi16(high, 8));
    odd = _mm256_add_epi16(odd,
                           _mm256_and_si256(high, _mm256_set1_epi16(static_cast<int16_t>(0xff00))));
  }
  _mm256_store_si256(reinterpret_cast<__m256i*>(codes.even), even);
  _mm256_store_si256(reinterpret_cast<__m256i*>(codes.odd), odd);
}

// Words for one column: each register of levels is widened, used and forgotten.
template <class Format>
ETCH_INLINE __m256i WordSum(const Format& format, const uint8_t* params, const uint8_t* codes,
                            int half, const WordCodes& words, const std::byte* terms) {
  __m256i levels[kVectors];
  format.Unpack(params, codes, half, levels);
  __m256i even_sum = _mm256_setzero_si256();
  __m256i odd_sum = _mm256_setzero_si256();
  for (int vector = 0; vector < kVectors; ++vector) {
    const __m256i level = _mm256_sub_epi8(levels[vector], _mm256_set1_epi8(Format::kRaised));
    const __m256i even = BroadcastWord(words.even + 4 * vector);
    const __m256i odd = BroadcastWord(words.odd + 4 * vector);
    even_sum = _mm256_add_epi32(even_sum, _mm256_madd_epi16(EvenWords(level), even));
    odd_sum = _mm256_add_epi32(odd_sum, _mm256_madd_epi16(OddWords(level), odd));
  }
  return Format::Round(_mm256_add_epi32(even_sum, odd_sum), Format::Scale(params, half), terms);
}

// kColumns columns against both halves: sums[column][half] = Σ level · code of the group.
template <class Format, int kColumns>
ETCH_INLINE void DotWords(const WordLevels<Format>* halves, const WordCodes* codes,
                          __m256i sums[kColumns][kHalves]) {
  for (int column = 0; column < kColumns; ++column) {
    for (int half = 0; half < kHalves; ++half) {
      sums[column][half] = _mm256_setzero_si256();
    }
  }
  for (int vector = 0; vector < kVectors; ++vector) {
    for (int column = 0; column < kColumns; ++column) {
      const __m256i even = BroadcastWord(codes[column].even + 4 * vector);
      const __m256i odd = BroadcastWord(codes[column].odd + 4 * vector);
      for (int half = 0; half < kHalves; ++half) {
        __m256i& sum = sums[column][half];
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(halves[half].even[vector], even));
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(halves[half].odd[vector], odd));
      }
    }
  }
}

// round(product / 2^down) of the even 32-bit lanes, saturated. |product| < 2^47 and 0 ≤ down ≤ 62.
// There is no arithmetic shift of 64 bits: 2^62 is added for the shift and its part taken off.
ETCH_INLINE __m256i ShiftSaturate(__m256i product, __m256i down) {
  const __m256i half = _mm256_srli_epi64(_mm256_sllv_epi64(_mm256_set1_epi64x(1), down), 1);
  const __m256i offset = _mm256_set1_epi64x(int64_t{1} << 62);
  const __m256i shifted =
      _mm256_srlv_epi64(_mm256_add_epi64(_mm256_add_epi64(product, half), offset), down);
  const __m256i rounded = _mm256_sub_epi64(shifted, _mm256_srlv_epi64(offset, down));
  const __m256i limit = _mm256_set1_epi64x(numerics::kMax32);
  const __m256i floor = _mm256_set1_epi64x(-int64_t{numerics::kMax32});
  const __m256i low = _mm256_blendv_epi8(rounded, limit, _mm256_cmpgt_epi64(rounded, limit));
  return _mm256_blendv_epi8(low, floor, _mm256_cmpgt_epi64(floor, low));
}

// y of the rows of half a tile from their sums, into out[0, rows).
ETCH_INLINE void FinishHalf(const uint8_t* tile, int half, __m256i acc, int exponent, int64_t rows,
                            int32_t* out) {
  const uint8_t* mantissas = tile + 2 * kHalfRows * half;
  const uint8_t* powers = tile + 2 * kRows + kHalfRows * half;
  const __m256i mantissa =
      _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(mantissas)));
  const __m256i exponents = _mm256_add_epi32(
      _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(powers))),
      _mm256_set1_epi32(exponent));
  const __m256i row = _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0);
  const int count = rows < kHalfRows ? static_cast<int>(rows) : kHalfRows;
  const __m256i inside = _mm256_cmpgt_epi32(_mm256_set1_epi32(count), row);
  const __m256i zero = _mm256_setzero_si256();
  if (!_mm256_testz_si256(_mm256_cmpgt_epi32(exponents, zero), inside)) {
    // A row scaled up: rare, and left to the definition.
    alignas(32) int32_t sums[kHalfRows];
    _mm256_store_si256(reinterpret_cast<__m256i*>(sums), acc);
    FinishRows(sums, mantissas, powers, exponent, count, out);
    return;
  }
  // A shift of 62 leaves nothing of 47 bits, as every larger one.
  const __m256i down = _mm256_min_epi32(_mm256_sub_epi32(zero, exponents), _mm256_set1_epi32(62));
  const __m256i even =
      ShiftSaturate(_mm256_mul_epi32(acc, mantissa), _mm256_blend_epi32(down, zero, 0xaa));
  const __m256i odd =
      ShiftSaturate(_mm256_mul_epi32(_mm256_srli_epi64(acc, 32), _mm256_srli_epi64(mantissa, 32)),
                    _mm256_srli_epi64(down, 32));
  _mm256_maskstore_epi32(out, inside, _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xaa));
}

struct Matrix {
  const uint8_t* data;
  int64_t tile_bytes;
  int64_t param_bytes;  // padded, of a tile
  int64_t groups;
  int64_t rows;
  int result_shift;

  ETCH_INLINE Matrix(const WeightView& view, ActivationFormat input)
      : data(reinterpret_cast<const uint8_t*>(view.data)),
        tile_bytes(numerics::TileBytes(view.format, view.cols)),
        param_bytes(numerics::ParamBytes(view.format, view.cols)),
        groups(numerics::GroupCount(view.cols)),
        rows(view.rows),
        result_shift(numerics::ResultShift(view.format, input)) {}

  ETCH_INLINE const uint8_t* Tile(int64_t tile) const { return data + tile * tile_bytes; }
  ETCH_INLINE const uint8_t* Params(int64_t tile) const {
    return Tile(tile) + numerics::kTileHeaderBytes;
  }
  ETCH_INLINE const uint8_t* Codes(int64_t tile) const { return Params(tile) + param_bytes; }

  // y of one column of a tile; `out` is the column's.
  ETCH_INLINE void Finish(int64_t tile, const __m256i acc[kHalves], int exponent,
                          int32_t* out) const {
    for (int half = 0; half < kHalves; ++half) {
      const int64_t first = tile * kRows + half * kHalfRows;
      if (first < rows) {
        FinishHalf(Tile(tile), half, acc[half], exponent, rows - first, out + first);
      }
    }
  }
};

// What a row's exponent is raised by for one column of the inputs.
ETCH_INLINE int ColumnExponent(const Matrix& matrix, const InputPanel& inputs, int64_t column) {
  return inputs.max_shift(column) + matrix.result_shift - inputs.point() + numerics::kPoint;
}

// One column, one tile after the other.
template <class Format, bool kWide, bool kBytes>
void MultiplyOne(const Format& format, const Matrix& matrix, const InputPanel& inputs,
                 int64_t tile_begin, int64_t tile_end, int32_t* out) {
  constexpr int64_t kRecord = kWide ? 80 : 48;
  const std::byte* records = inputs.Block(0);
  const int exponent = ColumnExponent(matrix, inputs, 0);
  for (int64_t tile = tile_begin; tile < tile_end; ++tile) {
    const uint8_t* params = matrix.Params(tile);
    const uint8_t* codes = matrix.Codes(tile);
    // The next tile's header and parameters are asked for along the way.
    const uint8_t* next = matrix.Tile(tile + 1);
    const int64_t next_lines = (numerics::kTileHeaderBytes + matrix.param_bytes) / 64;
    __m256i acc[kHalves] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
    for (int64_t group = 0; group < matrix.groups; ++group) {
      for (int64_t line = 0; line < Format::kCodeBytes; line += 64) {
        _mm_prefetch(reinterpret_cast<const char*>(codes + kFarBytes + line), _MM_HINT_T1);
        _mm_prefetch(reinterpret_cast<const char*>(codes + kNearBytes + line), _MM_HINT_T0);
      }
      if (group < next_lines) {
        _mm_prefetch(reinterpret_cast<const char*>(next + 64 * group), _MM_HINT_T0);
      }
      const std::byte* record = records + group * kRecord;
      if constexpr (kBytes) {
        for (int half = 0; half < kHalves; ++half) {
          const ByteLevels<Format> levels(format, params, codes, half);
          acc[half] = _mm256_add_epi32(acc[half], levels.GroupSum(record));
        }
      } else {
        WordCodes words;
        ExpandCodes<kWide>(record, words);
        for (int half = 0; half < kHalves; ++half) {
          const __m256i term =
              WordSum(format, params, codes, half, words, record + kRecord - sizeof(GroupTerms));
          acc[half] = _mm256_add_epi32(acc[half], term);
        }
      }
      params += Format::kParamBytes;
      codes += Format::kCodeBytes;
    }
    matrix.Finish(tile, acc, exponent, out);
  }
}

// Adds one group to the sums of kColumns columns.
template <class Format, bool kWide, int kColumns>
ETCH_INLINE void AddWords(const WordLevels<Format>* levels, const std::byte* record,
                          __m256i acc[][kHalves]) {
  constexpr int64_t kRecord = kWide ? 80 : 48;
  WordCodes words[kColumns];
  for (int column = 0; column < kColumns; ++column) {
    ExpandCodes<kWide>(record + column * kRecord, words[column]);
  }
  __m256i sums[kColumns][kHalves];
  DotWords<Format, kColumns>(levels, words, sums);
  for (int column = 0; column < kColumns; ++column) {
    const std::byte* terms = record + (column + 1) * kRecord - sizeof(GroupTerms);
    for (int half = 0; half < kHalves; ++half) {
      acc[column][half] = _mm256_add_epi32(
          acc[column][half], Format::Round(sums[column][half], levels[half].scale, terms));
    }
  }
}

// One block of columns against one tile.
template <class Format, bool kWide, bool kBytes>
void MultiplyBlock(const Format& format, const Matrix& matrix, const InputPanel& inputs,
                   int64_t block, int64_t tile, int32_t* out, int64_t out_stride) {
  constexpr int64_t kRecord = kWide ? 80 : 48;
  const int64_t columns = inputs.BlockWidth(block);
  const std::byte* record = inputs.Block(block);
  __m256i acc[kBlockColumns][kHalves];
  for (int64_t column = 0; column < columns; ++column) {
    acc[column][0] = _mm256_setzero_si256();
    acc[column][1] = _mm256_setzero_si256();
  }
  const uint8_t* params = matrix.Params(tile);
  const uint8_t* codes = matrix.Codes(tile);
  for (int64_t group = 0; group < matrix.groups; ++group) {
    for (int64_t line = 0; line < Format::kCodeBytes; line += 64) {
      _mm_prefetch(reinterpret_cast<const char*>(codes + kNearBytes + line), _MM_HINT_T0);
    }
    if constexpr (kBytes) {
      // Half by half, so that the eight registers of levels stay registers.
      for (int half = 0; half < kHalves; ++half) {
        const ByteLevels<Format> levels(format, params, codes, half);
        for (int64_t column = 0; column < columns; ++column) {
          acc[column][half] =
              _mm256_add_epi32(acc[column][half], levels.GroupSum(record + column * kRecord));
        }
      }
    } else {
      WordLevels<Format> levels[kHalves];
      for (int half = 0; half < kHalves; ++half) {
        levels[half].Unpack(format, params, codes, half);
      }
      int64_t column = 0;
      for (; column + 2 <= columns; column += 2) {  // each load of levels serves two
        AddWords<Format, kWide, 2>(levels, record + column * kRecord, acc + column);
      }
      if (column < columns) {
        AddWords<Format, kWide, 1>(levels, record + column * kRecord, acc + column);
      }
    }
    record += columns * kRecord;
    params += Format::kParamBytes;
    codes += Format::kCodeBytes;
  }
  for (int64_t column = 0; column < columns; ++column) {
    const int64_t at = block * kBlockColumns + column;
    matrix.Finish(tile, acc[column], ColumnExponent(matrix, inputs, at), out + at * out_stride);
  }
}

template <class Format, bool kWide>
void MultiplyFormat(const WeightView& view, const InputPanel& inputs, int64_t tile_begin,
                    int64_t tile_end, int32_t* out, int64_t out_stride) {
  constexpr bool kBytes = !kWide && Format::kRaised != 0;
  const Matrix matrix(view, inputs.format());
  const Format format(view);
  if (inputs.columns() == 1) {
    MultiplyOne<Format, kWide, kBytes>(format, matrix, inputs, tile_begin, tile_end, out);
    return;
  }
  for (int64_t block = 0; block < inputs.blocks(); ++block) {
    for (int64_t tile = tile_begin; tile < tile_end; ++tile) {
      MultiplyBlock<Format, kWide, kBytes>(format, matrix, inputs, block, tile, out, out_stride);
    }
  }
}

template <class Format>
void MultiplyInput(const WeightView& view, const InputPanel& inputs, int64_t tile_begin,
                   int64_t tile_end, int32_t* out, int64_t out_stride) {
  if (inputs.format() == ActivationFormat::kA8) {
    MultiplyFormat<Format, false>(view, inputs, tile_begin, tile_end, out, out_stride);
  } else {
    MultiplyFormat<Format, true>(view, inputs, tile_begin, tile_end, out, out_stride);
  }
}

}  // namespace

void Multiply(const WeightView& weights, const InputPanel& inputs, int64_t tile_begin,
              int64_t tile_end, int32_t* out, int64_t out_stride) {
  switch (weights.format) {
    case WeightFormat::kW3:
      return MultiplyInput<W3>(weights, inputs, tile_begin, tile_end, out, out_stride);
    case WeightFormat::kW6:
      return MultiplyInput<W6>(weights, inputs, tile_begin, tile_end, out, out_stride);
    case WeightFormat::kW4F:
      return MultiplyInput<W4F>(weights, inputs, tile_begin, tile_end, out, out_stride);
    default:
      return MultiplyInput<W8>(weights, inputs, tile_begin, tile_end, out, out_stride);
  }
}

}  // namespace etch::engine::avx2
