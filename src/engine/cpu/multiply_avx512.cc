// Matrix times columns with AVX-512 (F, BW, VL, VBMI, VNNI): sixteen rows of a tile are the sixteen
// 32-bit lanes of a register.
//
// A group of a tile (16 rows × 32 columns) is eight registers of 64 levels, one byte each, made
// unsigned by adding 32 (W8: 128) because vpdpbusd multiplies unsigned by signed bytes; the bias of
// the input's record takes the addition back. Each register meets four codes of the input,
// broadcast from the record: eight vpdpbusd give P, one vpmulld by the group scale gives S, and an
// addition and an arithmetic shift round it into the sum.
//
// W3: a byte of a plane holds two codes and two spare bits. vpermb looks a table of 64 bytes up by
// the low six bits of each byte, so with the table written out for all 64 combinations nothing has
// to be masked: one table reads bits 0-2 as the code, another bits 3-5. The group's choice of
// between two level tables (one bit a row) replaces a bit that is not read: one vpternlogd.
//
//   vector     code bits of the index      table bit      from
//   0 2 4      0 1 2                       3              plane
//   1 3 5      3 4 5                       2              plane
//   6          0 1 (plane 0 >> 6), 2       4              plane 2 >> 4 has bit 6 at 2
//   7          1 2 (plane 1 >> 5), 3       0              plane 2 >> 4 has bit 7 at 3
//
// One column (decoding): the sum stays in a register and the weights stream from memory once,
// prefetched. Many columns: two tiles together, so that each broadcast of inputs serves 32 rows;
// the group is unpacked once for up to kBlockColumns columns, whose sums and inputs stream through
// the caches.

#include <immintrin.h>

#include <array>

#include "engine/cpu/finish_rows.h"
#include "engine/cpu/kernels.h"
#include "engine/cpu/kernels_avx512.h"
#include "engine/cpu/read_ahead.h"
#include "numerics/linear.h"

namespace etch::engine::avx512 {
namespace {

using numerics::ActivationFormat;
using numerics::WeightFormat;
using numerics::WeightView;

constexpr int kVectors = 8;
constexpr int kRows = 16;
// How many tiles ahead of its use an adapter's B is asked for: at rank 16 8 KB, twice the memory's
// delay at the speed of the kernel.
constexpr int64_t kAheadTiles = 24;
// Columns whose y an adapter's B is added to together: as many streams as hardware follows.
constexpr int64_t kAddedColumns = 8;
static_assert(kBlockColumns % kAddedColumns == 0);  // their records stand together

#define ETCH_INLINE inline __attribute__((always_inline))

// Index tables of W3, the levels already raised by 32.
struct LevelLookup {
  __m512i low;      // code in bits 0-2, table in bit 3
  __m512i high;     // code in bits 3-5, table in bit 2
  __m512i sixth;    // code in bits 0-2, table in bit 4
  __m512i seventh;  // code in bits 1-3, table in bit 0
};

// Made anew for every call of a kernel, which may be two tiles of a small model.
LevelLookup MakeLookup(const numerics::LevelTables& tables) {
  static_assert(sizeof tables.levels == 16);
  __m128i bytes;
  std::memcpy(&bytes, tables.levels.data(), sizeof bytes);
  // Byte 8 · table + code.
  const __m512i levels = _mm512_broadcast_i32x4(_mm_add_epi8(bytes, _mm_set1_epi8(32)));
  const auto eight = [](int64_t first) { return first * 0x0101010101010101; };
  // Of index i: 8 · (i >> 2 & 1) + (i >> 3), 8 · (i >> 4 & 1) + (i & 7), and
  // 8 · (i & 1) + (i >> 1 & 7).
  const __m512i table_at_2 = _mm512_set1_epi64(0x0808080800000000);
  const __m512i codes =
      _mm512_set_epi64(eight(7), eight(6), eight(5), eight(4), eight(3), eight(2), eight(1), 0);
  const __m512i seventh =
      _mm512_broadcast_i32x4(_mm_set_epi64x(0x0f070e060d050c04, 0x0b030a0209010800));
  return {levels, _mm512_permutexvar_epi8(_mm512_or_si512(table_at_2, codes), levels),
          _mm512_permutex_epi64(levels, 0x50), _mm512_permutexvar_epi8(seventh, levels)};
}

// mask ? a : b, bit by bit.
ETCH_INLINE __m512i Select(__m512i mask, __m512i a, __m512i b) {
  return _mm512_ternarylogic_epi32(mask, a, b, 0xCA);
}

// Into the second-level cache.
ETCH_INLINE void PrefetchFar(const uint8_t* bytes) {
  _mm_prefetch(reinterpret_cast<const char*>(bytes), _MM_HINT_T1);
}

// Into the first-level cache.
ETCH_INLINE void PrefetchNear(const uint8_t* bytes) {
  _mm_prefetch(reinterpret_cast<const char*>(bytes), _MM_HINT_T0);
}

ETCH_INLINE __m512i Load(const uint8_t* bytes) { return _mm512_loadu_si512(bytes); }
ETCH_INLINE __m256i Load32(const uint8_t* bytes) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes));
}
ETCH_INLINE __m128i Load16(const uint8_t* bytes) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes));
}

// Eight bytes whose byte i holds a nibble for row i (low) and one for row i + 8 (high), as sixteen
// 32-bit lanes.
ETCH_INLINE __m512i Nibbles(const uint8_t* bytes) {
  const __m512i control =
      _mm512_set_epi32(60, 52, 44, 36, 28, 20, 12, 4, 56, 48, 40, 32, 24, 16, 8, 0);
  int64_t word = 0;
  std::memcpy(&word, bytes, sizeof word);
  return _mm512_and_si512(_mm512_multishift_epi64_epi8(control, _mm512_set1_epi64(word)),
                          _mm512_set1_epi32(15));
}

// A format unpacks one group: eight registers of unsigned levels, and for each row the scale (W3,
// W6) or the halvings (W4F) of the group.
// kBiasShift: what the record's bias (for levels raised by 32) is to be shifted by.
struct W3 {
  static constexpr WeightFormat kFormat = WeightFormat::kW3;
  static constexpr int64_t kParamBytes = 12;
  static constexpr int64_t kCodeBytes = 192;
  static constexpr int kBiasShift = 0;

  explicit W3(const WeightView& view) : lookup(MakeLookup(*view.levels)) {}

  ETCH_INLINE void Unpack(const uint8_t* params, const uint8_t* codes, __m512i* levels,
                          __m512i& scale) const {
    uint32_t bits = 0;
    std::memcpy(&bits, params, sizeof bits);
    const __m512i table = _mm512_movm_epi32(static_cast<__mmask16>(bits));
    const __m512i plane0 = Load(codes);
    const __m512i plane1 = Load(codes + 64);
    const __m512i plane2 = Load(codes + 128);
    const __m512i bit3 = _mm512_set1_epi8(8);
    const __m512i bit2 = _mm512_set1_epi8(4);
    const auto low = [&](__m512i plane) {
      return _mm512_permutexvar_epi8(Select(bit3, table, plane), lookup.low);
    };
    const auto high = [&](__m512i plane) {
      return _mm512_permutexvar_epi8(Select(bit2, table, plane), lookup.high);
    };
    levels[0] = low(plane0);
    levels[1] = high(plane0);
    levels[2] = low(plane1);
    levels[3] = high(plane1);
    levels[4] = low(plane2);
    levels[5] = high(plane2);
    const __m512i top = Select(_mm512_set1_epi8(12), _mm512_srli_epi16(plane2, 4), table);
    const __m512i sixth = Select(_mm512_set1_epi8(3), _mm512_srli_epi16(plane0, 6), top);
    const __m512i seventh = Select(_mm512_set1_epi8(6), _mm512_srli_epi16(plane1, 5), top);
    levels[6] = _mm512_permutexvar_epi8(sixth, lookup.sixth);
    levels[7] = _mm512_permutexvar_epi8(seventh, lookup.seventh);
    scale = Nibbles(params + 4);
    scale = _mm512_mask_sub_epi32(scale, static_cast<__mmask16>(~(bits >> 16)), scale,
                                  _mm512_set1_epi32(16));
  }

  LevelLookup lookup;
};

struct W6 {
  static constexpr WeightFormat kFormat = WeightFormat::kW6;
  static constexpr int64_t kParamBytes = 12;
  static constexpr int64_t kCodeBytes = 384;
  static constexpr int kBiasShift = 0;

  explicit W6(const WeightView& /*view*/) {}

  ETCH_INLINE void Unpack(const uint8_t* params, const uint8_t* codes, __m512i* levels,
                          __m512i& scale) const {
    const __m512i low4 = _mm512_set1_epi8(15);
    const __m512i six = _mm512_set1_epi8(63);
    for (int half = 0; half < 2; ++half) {
      const __m512i pairs = Load(codes + 256 + 64 * half);
      const __m512i at_bit4[4] = {_mm512_slli_epi16(pairs, 4), _mm512_slli_epi16(pairs, 2), pairs,
                                  _mm512_srli_epi16(pairs, 2)};
      for (int vector = 0; vector < 4; ++vector) {
        __m512i low = Load(codes + 64 * vector);
        if (half == 1) {
          low = _mm512_srli_epi16(low, 4);
        }
        levels[4 * half + vector] = _mm512_and_si512(Select(low4, low, at_bit4[vector]), six);
      }
    }
    // Byte i of the last four: rows i, i+4, i+8, i+12 from the lowest pair of bits up.
    uint32_t word = 0;
    std::memcpy(&word, params + 8, sizeof word);
    const __m512i shifts =
        _mm512_set_epi32(30, 22, 14, 6, 28, 20, 12, 4, 26, 18, 10, 2, 24, 16, 8, 0);
    const __m512i high =
        _mm512_and_si512(_mm512_srlv_epi32(_mm512_set1_epi32(static_cast<int32_t>(word)), shifts),
                         _mm512_set1_epi32(3));
    scale = _mm512_or_si512(Nibbles(params), _mm512_slli_epi32(high, 4));
  }
};

struct W8 {
  static constexpr WeightFormat kFormat = WeightFormat::kW8;
  static constexpr int64_t kParamBytes = 0;
  static constexpr int64_t kCodeBytes = 512;
  static constexpr int kBiasShift = 2;

  explicit W8(const WeightView& /*view*/) {}

  ETCH_INLINE void Unpack(const uint8_t* /*params*/, const uint8_t* codes, __m512i* levels,
                          __m512i& scale) const {
    UnpackLevels<kVectors>(codes, levels);
    scale = _mm512_set1_epi32(1);
  }

  template <int kUsed>
  ETCH_INLINE void UnpackLevels(const uint8_t* codes, __m512i* levels) const {
    for (int vector = 0; vector < kUsed; ++vector) {
      levels[vector] = _mm512_xor_si512(Load(codes + 64 * vector), _mm512_set1_epi8(-128));
    }
  }
};

struct W4F {
  static constexpr WeightFormat kFormat = WeightFormat::kW4F;
  static constexpr int64_t kParamBytes = 8;
  static constexpr int64_t kCodeBytes = 256;
  static constexpr int kBiasShift = 0;

  explicit W4F(const WeightView& /*view*/) {
    constexpr auto kLevels = numerics::kFloatLevels;  // no symbol that other objects share
    alignas(64) std::array<uint8_t, 64> table;
    for (size_t index = 0; index < 64; ++index) {
      table[index] = static_cast<uint8_t>(kLevels[index & 15] + 32);
    }
    lookup = _mm512_load_si512(table.data());
  }

  ETCH_INLINE void Unpack(const uint8_t* params, const uint8_t* codes, __m512i* levels,
                          __m512i& scale) const {
    for (int vector = 0; vector < 4; ++vector) {
      const __m512i plane = Load(codes + 64 * vector);
      levels[vector] = _mm512_permutexvar_epi8(plane, lookup);
      levels[vector + 4] = _mm512_permutexvar_epi8(_mm512_srli_epi16(plane, 4), lookup);
    }
    scale = Nibbles(params);
  }

  __m512i lookup;  // the low four bits of a byte are the code
};

ETCH_INLINE __m512i BroadcastTerm(const std::byte* terms, int64_t offset) {
  int32_t value = 0;
  std::memcpy(&value, terms + offset, sizeof value);
  return _mm512_set1_epi32(value);
}

// Σ level · code over one plane of a record's codes, added to `sum`. One chain: with two tiles
// together the multipliers have two, with one the next group's fills the wait, and another addition
// for each would cost more than waiting.
ETCH_INLINE __m512i Dot(const __m512i* levels, const std::byte* codes, __m512i sum) {
  for (int vector = 0; vector < kVectors; ++vector) {
    sum = _mm512_dpbusd_epi32(sum, levels[vector], BroadcastTerm(codes, 4 * vector));
  }
  return sum;
}

// What one group of one column adds to the sums of sixteen rows: round(P · scale / 2^shift).
template <class Format, bool kWide>
ETCH_INLINE __m512i GroupSum(const __m512i* levels, __m512i scale, const std::byte* record) {
  const std::byte* terms = record + (kWide ? 64 : 32);
  const __m512i bias = _mm512_slli_epi32(BroadcastTerm(terms, 0), Format::kBiasShift);
  __m512i products = Dot(levels, record, bias);
  if constexpr (kWide) {
    const __m512i high = Dot(levels, record + 32, _mm512_setzero_si512());
    products = _mm512_add_epi32(products, _mm512_slli_epi32(high, 8));
  }
  __m512i half = BroadcastTerm(terms, 4);
  __m512i shift = BroadcastTerm(terms, 8);
  if constexpr (Format::kFormat == WeightFormat::kW6) {  // base shift 2
    half = _mm512_max_epi32(_mm512_slli_epi32(half, 2), _mm512_set1_epi32(2));
    shift = _mm512_add_epi32(shift, _mm512_set1_epi32(2));
  }
  if constexpr (Format::kFormat == WeightFormat::kW4F) {
    // The halvings of a row join its shift. |S| < 2^29, so that from a shift of 30 on nothing is
    // left; 31 does for all that are larger.
    const __m512i halved = _mm512_min_epi32(_mm512_add_epi32(shift, scale), _mm512_set1_epi32(31));
    half = _mm512_srli_epi32(_mm512_sllv_epi32(_mm512_set1_epi32(1), halved), 1);
    const __m512i raised = _mm512_slli_epi32(products, numerics::GuardBits(Format::kFormat));
    return _mm512_srav_epi32(_mm512_add_epi32(raised, half), halved);
  }
  const __m512i scaled =
      Format::kFormat == WeightFormat::kW8 ? products : _mm512_mullo_epi32(products, scale);
  return _mm512_srav_epi32(_mm512_add_epi32(scaled, half), shift);
}

// Turns the sums of a tile's rows into y: the row scales, read once for all columns.
class TileEnd {
 public:
  TileEnd(const uint8_t* tile, int64_t rows)
      : tile_(tile),
        rows_(std::min<int64_t>(rows, kRows)),
        mask_(static_cast<__mmask16>((1 << rows_) - 1)),
        low_(_mm512_cvtepu16_epi64(_mm_loadu_si128(reinterpret_cast<const __m128i*>(tile)))),
        high_(_mm512_cvtepu16_epi64(_mm_loadu_si128(reinterpret_cast<const __m128i*>(tile + 16)))),
        exponents_(_mm512_cvtepi8_epi32(
            _mm_loadu_si128(reinterpret_cast<const __m128i*>(tile + 2 * kRows)))) {}

  // round(acc · mantissa · 2^(row exponent + exponent)), saturated, into out[0, rows).
  ETCH_INLINE void Store(__m512i acc, int exponent, int32_t* out) const {
    const __m512i up = _mm512_add_epi32(exponents_, _mm512_set1_epi32(exponent));
    if (_mm512_mask_cmpgt_epi32_mask(mask_, up, _mm512_setzero_si512()) != 0) {
      StoreScaledUp(acc, exponent, out);
      return;
    }
    // |acc · mantissa| < 2^47: a shift of 62 leaves nothing, as every larger one.
    const __m512i down =
        _mm512_min_epi32(_mm512_sub_epi32(_mm512_setzero_si512(), up), _mm512_set1_epi32(62));
    const __m256i low = Eight(_mm512_castsi512_si256(acc), low_, _mm512_castsi512_si256(down));
    const __m256i high =
        Eight(_mm512_extracti64x4_epi64(acc, 1), high_, _mm512_extracti64x4_epi64(down, 1));
    const __m512i y = _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
    _mm512_mask_storeu_epi32(out, mask_, _mm512_max_epi32(y, _mm512_set1_epi32(-numerics::kMax32)));
  }

 private:
  // Eight rows, every `down` in 0…62; clipped to 32 bits.
  ETCH_INLINE static __m256i Eight(__m256i acc, __m512i mantissa, __m256i down) {
    const __m512i product = _mm512_mul_epi32(_mm512_cvtepi32_epi64(acc), mantissa);
    const __m512i count = _mm512_cvtepi32_epi64(down);
    const __m512i half = _mm512_srli_epi64(_mm512_sllv_epi64(_mm512_set1_epi64(1), count), 1);
    return _mm512_cvtsepi64_epi32(_mm512_srav_epi64(_mm512_add_epi64(product, half), count));
  }

  // Rare, and left to the definition.
  void StoreScaledUp(__m512i acc, int exponent, int32_t* out) const {
    alignas(64) std::array<int32_t, kRows> sums;
    _mm512_store_si512(sums.data(), acc);
    FinishRows(sums.data(), tile_, tile_ + 2 * kRows, exponent, rows_, out);
  }

  const uint8_t* tile_;
  int64_t rows_;
  __mmask16 mask_;
  __m512i low_;  // mantissas of rows 0-7 in 64-bit lanes
  __m512i high_;
  __m512i exponents_;
};

struct Matrix {
  const uint8_t* data;
  int64_t tile_bytes;
  int64_t param_bytes;  // padded, of a tile
  int64_t groups;
  int64_t rows;
  int result_shift;

  Matrix(const WeightView& view, ActivationFormat input)
      : data(reinterpret_cast<const uint8_t*>(view.data)),
        tile_bytes(numerics::TileBytes(view.format, view.cols)),
        param_bytes(numerics::ParamBytes(view.format, view.cols)),
        groups(numerics::GroupCount(view.cols)),
        rows(view.rows),
        result_shift(numerics::ResultShift(view.format, input)) {}

  const uint8_t* Tile(int64_t tile) const { return data + tile * tile_bytes; }
  const uint8_t* Params(int64_t tile) const { return Tile(tile) + numerics::kTileHeaderBytes; }
  const uint8_t* Codes(int64_t tile) const { return Params(tile) + param_bytes; }
  int64_t RowsOf(int64_t tile) const { return rows - tile * kRows; }
};

// What is asked for while a group is computed: what lies `far` and kNearBytes behind its codes,
// and, for each of the first groups, behind a line of the tile's header and parameters. One tile at
// a time that is all of what follows as one stream, each line twice.
struct Ahead {
  int64_t far;  // bytes
  int64_t param_lines;
  int64_t groups;  // that are followed by something to be read

  // tiles: that are computed together, each a stream of its own that goes on a turn later.
  Ahead(const Matrix& matrix, int64_t tiles)
      : param_lines((numerics::kTileHeaderBytes + matrix.param_bytes) / 64), groups(matrix.groups) {
    const int64_t turn = tiles * matrix.tile_bytes;
    far = tiles == 1 ? kFarBytes : (kFarBytes + turn - 1) / turn * turn;
    // An adapter's A: what follows its only tile is read much later, if ever.
    if (matrix.rows <= kRows) {
      const int64_t code_bytes = matrix.tile_bytes / matrix.groups / 64 * 64;
      groups = matrix.groups - kNearBytes / code_bytes;
      far = kNearBytes;
    }
  }
  ETCH_INLINE void Ask(const uint8_t* tile, const uint8_t* codes, int64_t group,
                       int64_t code_bytes) const {
    for (int64_t line = 0; group < groups && line < code_bytes; line += 64) {
      PrefetchFar(codes + far + line);
      PrefetchNear(codes + kNearBytes + line);
    }
    if (group < param_lines) {
      PrefetchFar(tile + far + 64 * group);
      PrefetchNear(tile + kNearBytes + 64 * group);
    }
  }
};

// One column.
template <class Format, bool kWide>
void MultiplyOne(const Format& format, const Matrix& matrix, const Ahead& ahead,
                 const InputPanel& inputs, int64_t tile, int32_t* out) {
  constexpr int64_t kRecord = kWide ? 80 : 48;
  const std::byte* record = inputs.Block(0);
  const int exponent =
      inputs.max_shift(0) + matrix.result_shift - inputs.point() + numerics::kPoint;
  const uint8_t* params = matrix.Params(tile);
  const uint8_t* codes = matrix.Codes(tile);
  __m512i acc = _mm512_setzero_si512();
  for (int64_t group = 0; group < matrix.groups; ++group) {
    ahead.Ask(matrix.Tile(tile), codes, group, Format::kCodeBytes);
    __m512i levels[kVectors];
    __m512i scale;
    format.Unpack(params, codes, levels, scale);
    acc = _mm512_add_epi32(acc, GroupSum<Format, kWide>(levels, scale, record));
    params += Format::kParamBytes;
    codes += Format::kCodeBytes;
    record += kRecord;
  }
  const TileEnd end(matrix.Tile(tile), matrix.RowsOf(tile));
  end.Store(acc, exponent, out + tile * kRows);
}

// One block of columns against kTiles tiles. acc: (columns, kTiles) registers in memory.
template <class Format, bool kWide, int kTiles>
void MultiplyBlock(const Format& format, const Matrix& matrix, const Ahead& ahead,
                   const InputPanel& inputs, int64_t block, int64_t tile, int32_t* out,
                   int64_t out_stride) {
  constexpr int64_t kRecord = kWide ? 80 : 48;
  const int64_t columns = inputs.BlockWidth(block);
  const std::byte* record = inputs.Block(block);
  alignas(64) __m512i acc[kBlockColumns * kTiles];
  for (int64_t index = 0; index < columns * kTiles; ++index) {
    acc[index] = _mm512_setzero_si512();
  }
  const uint8_t* params[kTiles];
  const uint8_t* codes[kTiles];
  for (int which = 0; which < kTiles; ++which) {
    params[which] = matrix.Params(tile + which);
    codes[which] = matrix.Codes(tile + which);
  }
  for (int64_t group = 0; group < matrix.groups; ++group) {
    __m512i levels[kTiles][kVectors];
    __m512i scale[kTiles];
    for (int which = 0; which < kTiles; ++which) {
      ahead.Ask(matrix.Tile(tile + which), codes[which], group, Format::kCodeBytes);
      format.Unpack(params[which], codes[which], levels[which], scale[which]);
      params[which] += Format::kParamBytes;
      codes[which] += Format::kCodeBytes;
    }
    for (int64_t column = 0; column < columns; ++column) {
      for (int which = 0; which < kTiles; ++which) {
        __m512i& sum = acc[column * kTiles + which];
        sum = _mm512_add_epi32(sum, GroupSum<Format, kWide>(levels[which], scale[which], record));
      }
      record += kRecord;
    }
  }
  for (int which = 0; which < kTiles; ++which) {
    const TileEnd end(matrix.Tile(tile + which), matrix.RowsOf(tile + which));
    int32_t* to = out + block * kBlockColumns * out_stride + (tile + which) * kRows;
    for (int64_t column = 0; column < columns; ++column) {
      const int exponent = inputs.max_shift(block * kBlockColumns + column) + matrix.result_shift -
                           inputs.point() + numerics::kPoint;
      end.Store(acc[column * kTiles + which], exponent, to + column * out_stride);
    }
  }
}

// y + delta · weight, rounded and saturated: sixteen rows in two halves of 64 bits.
ETCH_INLINE __m512i AddWeighed(__m512i y, __m512i delta, int32_t weight_q16) {
  const auto half = [&](__m256i of_y, __m256i of_delta) {
    const __m512i product =
        _mm512_mul_epi32(_mm512_cvtepi32_epi64(of_delta), _mm512_set1_epi64(weight_q16));
    const __m512i weighed =
        _mm512_srai_epi64(_mm512_add_epi64(product, _mm512_set1_epi64(1 << 15)), 16);
    return _mm512_cvtsepi64_epi32(_mm512_add_epi64(_mm512_cvtepi32_epi64(of_y), weighed));
  };
  const __m256i low = half(_mm512_castsi512_si256(y), _mm512_castsi512_si256(delta));
  const __m256i high = half(_mm512_extracti64x4_epi64(y, 1), _mm512_extracti64x4_epi64(delta, 1));
  return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

// y + delta, saturated but for -2^31: a sum has overflowed when its sign is that of neither.
ETCH_INLINE __m512i AddSaturated(__m512i y, __m512i delta) {
  const __m512i sum = _mm512_add_epi32(y, delta);
  // (y ^ sum) & (delta ^ sum)
  const __mmask16 over = _mm512_movepi32_mask(_mm512_ternarylogic_epi32(y, delta, sum, 0x42));
  if (over == 0) [[likely]] {
    return sum;
  }
  const __m512i limit = _mm512_xor_si512(_mm512_srai_epi32(y, 31), _mm512_set1_epi32(INT32_MAX));
  return _mm512_mask_mov_epi32(sum, over, limit);
}

// An adapter's B against columns [begin, end): all columns of the matrix in one group, of which the
// first kUsed registers hold what is not padding. One block of inputs has no shift to be aligned
// by, so the group's sum P is the row's, |P| < 2^20, and round(P · mantissa / 2^down) is had in 32
// bits when down > 8: with the mantissa in two bytes it is
//   (floor((P · high + floor(P · low / 2^8)) / 2^(down - 9)) + 1) >> 1
template <int kUsed>
void MultiplyAddTiles(const Matrix& matrix, const W8& format, const InputPanel& inputs,
                      int64_t tile_begin, int64_t tile_end, int64_t begin, int64_t end,
                      AddedTo to) {
  constexpr int64_t kRecord = RecordBytes(ActivationFormat::kA8);
  const int to_exponent = matrix.result_shift - inputs.point() + numerics::kPoint;
  const __m512i one = _mm512_set1_epi32(1);
  for (int64_t tile = tile_begin; tile < tile_end; ++tile) {
    const uint8_t* header = matrix.Tile(tile);
    for (int line = 0; line <= kUsed; ++line) {
      PrefetchFar(header + kAheadTiles * matrix.tile_bytes + 64 * line);
    }
    const int64_t rows = matrix.RowsOf(tile);
    const __mmask16 mask =
        rows >= kRows ? __mmask16{0xffff} : static_cast<__mmask16>((1 << rows) - 1);
    __m512i levels[kUsed];
    format.UnpackLevels<kUsed>(matrix.Codes(tile), levels);
    const __m512i mantissas = _mm512_cvtepu16_epi32(Load32(header));
    const __m512i mantissas_low = _mm512_and_si512(mantissas, _mm512_set1_epi32(255));
    const __m512i mantissas_high = _mm512_srli_epi32(mantissas, 8);
    const __m512i nine_less = _mm512_sub_epi32(_mm512_set1_epi32(-to_exponent - 9),
                                               _mm512_cvtepi8_epi32(Load16(header + 2 * kRows)));
    const std::byte* record = inputs.Record(begin, 0);
    for (int64_t column = begin; column < end; ++column, record += kRecord) {
      __m512i sums = _mm512_slli_epi32(BroadcastTerm(record, 32), W8::kBiasShift);
      for (int vector = 0; vector < kUsed; ++vector) {
        sums = _mm512_dpbusd_epi32(sums, levels[vector], BroadcastTerm(record, 4 * vector));
      }
      // down - 9; from 29 on nothing is left of 28 bits but the sign, which the addition takes.
      const __m512i down = _mm512_sub_epi32(nine_less, _mm512_set1_epi32(inputs.max_shift(column)));
      __m512i delta;
      if (_mm512_mask_cmpgt_epi32_mask(mask, _mm512_setzero_si512(), down) == 0) [[likely]] {
        const __m512i low = _mm512_mullo_epi32(sums, mantissas_low);
        const __m512i high = _mm512_mullo_epi32(sums, mantissas_high);
        const __m512i product = _mm512_add_epi32(high, _mm512_srai_epi32(low, 8));
        delta = _mm512_srai_epi32(_mm512_add_epi32(_mm512_srav_epi32(product, down), one), 1);
      } else {
        alignas(64) std::array<int32_t, kRows> values{};
        TileEnd(header, rows).Store(sums, inputs.max_shift(column) + to_exponent, values.data());
        delta = _mm512_load_si512(values.data());
      }
      int32_t* at = to.Rows(column) + tile * kRows;
      const int32_t weight = to.weight_q16(column);
      const __m512i y = _mm512_maskz_loadu_epi32(mask, at);
      const __m512i sum = weight == 1 << 16 ? AddSaturated(y, delta) : AddWeighed(y, delta, weight);
      _mm512_mask_storeu_epi32(at, mask,
                               _mm512_max_epi32(sum, _mm512_set1_epi32(-numerics::kMax32)));
    }
  }
}

template <class Format, bool kWide>
void MultiplyFormat(const WeightView& view, const InputPanel& inputs, int64_t tile_begin,
                    int64_t tile_end, int32_t* out, int64_t out_stride) {
  const Matrix matrix(view, inputs.format());
  const Format format(view);
  if (inputs.columns() == 1) {
    const Ahead ahead(matrix, 1);
    for (int64_t tile = tile_begin; tile < tile_end; ++tile) {
      MultiplyOne<Format, kWide>(format, matrix, ahead, inputs, tile, out);
    }
    return;
  }
  const Ahead ahead(matrix, 2);
  for (int64_t block = 0; block < inputs.blocks(); ++block) {
    int64_t tile = tile_begin;
    for (; tile + 1 < tile_end; tile += 2) {
      MultiplyBlock<Format, kWide, 2>(format, matrix, ahead, inputs, block, tile, out, out_stride);
    }
    if (tile < tile_end) {
      MultiplyBlock<Format, kWide, 1>(format, matrix, ahead, inputs, block, tile, out, out_stride);
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

void MultiplyAddGroup(const WeightView& weights, const InputPanel& inputs, int64_t tile_begin,
                      int64_t tile_end, const AddedTo& to) {
  const Matrix matrix(weights, inputs.format());
  const W8 format(weights);
  constexpr int kHalf = kVectors / 2;  // a register holds four columns
  const auto add_tiles =
      weights.cols <= 4 * kHalf ? MultiplyAddTiles<kHalf> : MultiplyAddTiles<kVectors>;
  for (int64_t column = 0; column < inputs.columns(); column += kAddedColumns) {
    add_tiles(matrix, format, inputs, tile_begin, tile_end, column,
              std::min(column + kAddedColumns, inputs.columns()), to);
  }
}

}  // namespace etch::engine::avx512
