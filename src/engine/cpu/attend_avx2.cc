// Attention of some query heads over one key/value head, sixteen keys at a time
// (docs/numeric-contract.md §9; the layout is in kv_tiles.h). A tile is two registers ("halves").
//
// Pass one. A lane is a key. vpmaddwd multiplies a pair of channels of eight keys by the query's
// pair, broadcast; after the 16 pairs of a block the sum is D, below 2^31 by the contract. Rounding
// D / 2^s needs one bit more than D has, so it is done as ((D >> (s-1)) + 1) >> 1. That and the sum
// over blocks fit 32 bits when every s ≥ 4, which holds unless queries and keys are very large
// together; a tile where it does not is left to the definition.
//
// Pass two, in chunks of sixteen tiles whose values stay in the first-level cache for all heads.
// Weights have up to 31 bits (2^24 · 2^6 at most), values 8, and the sums must be exact: a weight
// is cut into a signed low word and the rounded rest, w = high · 2^16 + low with low in -2^15 …
// 2^15 - 1 and high in 0 … 2^14. Values are widened to words, even keys and odd ones apart, and
// vpmaddwd sums the products of either word (a lane is a channel, two keys a step): at most
// 2 · 2^15 · 2^7 a step, 2^30 after the 128 steps of a chunk. The two sums of a chunk are joined in
// 64 bits. Rejected: bytes of the weight under vpmaddubsw, which would take digits of seven bits,
// five of them, and twice the instructions.

#include <immintrin.h>

#include <cstring>

#include "engine/cpu/attend_parts.h"
#include "engine/cpu/kernels_avx2.h"
#include "model/config.h"

namespace etch::engine::avx2 {
namespace {

#define ETCH_INLINE inline __attribute__((always_inline))

using numerics::kBlock;
constexpr int kHalves = 2;
constexpr int64_t kHalfKeys = 8;
constexpr int64_t kChunkTiles = 16;
constexpr int64_t kMaxBlocks = model::kMaxHeadDim / kBlock;
constexpr int kRawShift = 20;  // point of q·k above the raw score's
// Of one tile's weights for one block: for each four keys the low words, then the high ones.
constexpr int64_t kDigitBytes = 4 * kKeyTile;

ETCH_INLINE __m256i Load(const void* bytes) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(bytes));
}
ETCH_INLINE void Store(void* bytes, __m256i value) {
  _mm256_storeu_si256(static_cast<__m256i*>(bytes), value);
}

ETCH_INLINE __m256i Widen(const uint8_t* bytes) {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes)));
}

ETCH_INLINE __m256i BroadcastWord(const void* bytes) {
  int32_t word = 0;
  std::memcpy(&word, bytes, sizeof word);
  return _mm256_set1_epi32(word);
}

ETCH_INLINE int64_t Smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// How many of a tile's keys are seen.
ETCH_INLINE int64_t Seen(const AttendTask& task, int64_t tile) {
  return Smaller(task.visible - tile * kKeyTile, kKeyTile);
}

// All ones in the lanes of the half's keys that are seen.
ETCH_INLINE __m256i SeenMask(int64_t seen, int half) {
  const __m256i key = _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int32_t>(seen - kHalfKeys * half)), key);
}

// sat(raw · mantissa / 2^down), rounded; |raw| < 2^31, down ≤ 62. There is no arithmetic shift of
// 64 bits: 2^62 is added for the shift and its part taken off.
ETCH_INLINE __m256i ScaleScores(__m256i raw, __m256i mantissa, int down) {
  constexpr int64_t kOffset = int64_t{1} << 62;
  const __m256i before = _mm256_set1_epi64x(kOffset + ((int64_t{1} << down) >> 1));
  const __m256i after = _mm256_set1_epi64x(kOffset >> down);
  const __m128i count = _mm_cvtsi32_si128(down);
  const __m256i limit = _mm256_set1_epi64x(numerics::kMax32);
  const __m256i floor = _mm256_set1_epi64x(-int64_t{numerics::kMax32});
  const auto scale = [&](__m256i values) {
    const __m256i product = _mm256_add_epi64(_mm256_mul_epi32(values, mantissa), before);
    const __m256i rounded = _mm256_sub_epi64(_mm256_srl_epi64(product, count), after);
    const __m256i low = _mm256_blendv_epi8(rounded, limit, _mm256_cmpgt_epi64(rounded, limit));
    return _mm256_blendv_epi8(low, floor, _mm256_cmpgt_epi64(floor, low));
  };
  const __m256i even = scale(raw);
  const __m256i odd = scale(_mm256_srli_epi64(raw, 32));
  return _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xaa);
}

// Raw scores of one tile for kHeads query heads together, so that each key is loaded once.
// Bit h of the result: head h needs the definition.
template <int kHeads>
ETCH_INLINE uint32_t RawScores(const AttendTask& task, int64_t tile, int64_t head,
                               __m256i raw[][kHalves]) {
  const int16_t* keys = task.keys + tile * task.head_dim * kKeyTile;
  const uint8_t* shifts = task.key_shifts + tile * task.blocks * kKeyTile;
  const int16_t* queries = task.queries + head * task.head_dim;
  const __m256i zero = _mm256_setzero_si256();
  const __m256i one = _mm256_set1_epi32(1);
  __m256i wide[kHeads];
  for (int which = 0; which < kHeads; ++which) {
    wide[which] = zero;
    raw[which][0] = zero;
    raw[which][1] = zero;
  }
  for (int64_t block = 0; block < task.blocks; ++block) {
    __m256i dot[kHeads][kHalves];
    for (int which = 0; which < kHeads; ++which) {
      dot[which][0] = zero;
      dot[which][1] = zero;
    }
    const int64_t end = Smaller((block + 1) * kBlock, task.head_dim);
    for (int64_t channel = block * kBlock; channel < end; channel += 2) {
      const int16_t* pair = keys + channel * kKeyTile;
      const __m256i pairs[kHalves] = {Load(pair), Load(pair + 2 * kHalfKeys)};
      _mm_prefetch(reinterpret_cast<const char*>(pair + task.head_dim * kKeyTile),
                   _MM_HINT_T0);  // the same pair of the next tile
      for (int which = 0; which < kHeads; ++which) {
        const __m256i query = BroadcastWord(queries + which * task.head_dim + channel);
        for (int half = 0; half < kHalves; ++half) {
          dot[which][half] =
              _mm256_add_epi32(dot[which][half], _mm256_madd_epi16(pairs[half], query));
        }
      }
    }
    for (int which = 0; which < kHeads; ++which) {
      const int query_shift = task.query_shifts[(head + which) * task.blocks + block];
      for (int half = 0; half < kHalves; ++half) {
        const __m256i down = _mm256_sub_epi32(_mm256_set1_epi32(kRawShift - 1 - query_shift),
                                              Widen(shifts + block * kKeyTile + kHalfKeys * half));
        wide[which] = _mm256_or_si256(wide[which], _mm256_cmpgt_epi32(_mm256_set1_epi32(3), down));
        const __m256i rounded =
            _mm256_srai_epi32(_mm256_add_epi32(_mm256_srav_epi32(dot[which][half], down), one), 1);
        raw[which][half] = _mm256_add_epi32(raw[which][half], rounded);
      }
    }
  }
  uint32_t bits = 0;
  for (int which = 0; which < kHeads; ++which) {
    bits |= (_mm256_testz_si256(wide[which], wide[which]) != 0 ? 0U : 1U) << which;
  }
  return bits;
}

// The largest of eight signed lanes.
ETCH_INLINE int32_t Largest(__m256i values) {
  alignas(32) int32_t lanes[8];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), values);
  int32_t largest = lanes[0];
  for (const int32_t lane : lanes) {
    largest = lane > largest ? lane : largest;
  }
  return largest;
}

template <int kHeads>
void ScoreHeads(const AttendTask& task, const AttendMemory& memory, int64_t head, int32_t* best) {
  const int64_t tiles = KeyTiles(task.visible);
  const __m256i mantissa = _mm256_set1_epi64x(task.score_scale.mantissa);
  const int down = -(task.score_scale.exponent + 4);
  const __m256i lowest = _mm256_set1_epi32(-numerics::kMax32);
  __m256i largest[kHeads];
  for (int which = 0; which < kHeads; ++which) {
    largest[which] = lowest;
  }
  for (int64_t tile = 0; tile < tiles; ++tile) {
    __m256i raw[kHeads][kHalves];
    const uint32_t wide = RawScores<kHeads>(task, tile, head, raw);
    const int64_t seen = Seen(task, tile);
    for (int which = 0; which < kHeads; ++which) {
      int32_t* scores = memory.scores + (head + which) * memory.score_stride + tile * kKeyTile;
      const bool plain = ((wide >> which) & 1U) != 0;
      for (int64_t key = 0; plain && key < seen; ++key) {
        scores[key] = ScoreOfKey(task, head + which, tile * kKeyTile + key);
      }
      for (int half = 0; half < kHalves; ++half) {
        int32_t* at = scores + kHalfKeys * half;
        __m256i score = plain ? Load(at) : ScaleScores(raw[which][half], mantissa, down);
        // Keys beyond the last are as far away as can be and weigh nothing (see WeighChunk).
        score = _mm256_blendv_epi8(lowest, score, SeenMask(seen, half));
        Store(at, score);
        largest[which] = _mm256_max_epi32(largest[which], score);
      }
    }
  }
  for (int which = 0; which < kHeads; ++which) {
    best[head + which] = Largest(largest[which]);
  }
}

// numerics::Exp2Negative of a distance below 2^32. Needs steps below 2^21 (see Attend).
ETCH_INLINE __m256i Exp2(const int32_t* table, __m256i distance) {
  const __m256i index = _mm256_and_si256(_mm256_srli_epi32(distance, 10), _mm256_set1_epi32(63));
  const __m256i fraction = _mm256_and_si256(distance, _mm256_set1_epi32(1023));
  const __m256i entry = _mm256_i32gather_epi32(table, index, 4);
  const __m256i step = _mm256_sub_epi32(entry, _mm256_i32gather_epi32(table + 1, index, 4));
  const __m256i fall = _mm256_srai_epi32(
      _mm256_add_epi32(_mm256_mullo_epi32(step, fraction), _mm256_set1_epi32(512)), 10);
  const __m256i value = _mm256_sub_epi32(entry, fall);
  // A value of at most 2^24 shifted by 26 or more rounds to zero.
  const __m256i whole = _mm256_min_epu32(_mm256_srli_epi32(distance, 16), _mm256_set1_epi32(30));
  const __m256i half = _mm256_srli_epi32(_mm256_sllv_epi32(_mm256_set1_epi32(1), whole), 1);
  return _mm256_srlv_epi32(_mm256_add_epi32(value, half), whole);
}

// Weights of the tiles [begin, end) of one head; returns their sum.
uint64_t WeighChunk(const AttendTask& task, const int32_t* scores, int32_t best, int64_t begin,
                    int64_t end, int32_t* weights) {
  const __m256i top = _mm256_set1_epi32(best);
  __m256i sum = _mm256_setzero_si256();  // 32 times 2^24: below 2^30
  for (int64_t tile = begin; tile < end; ++tile) {
    const int64_t seen = Seen(task, tile);
    for (int half = 0; half < kHalves; ++half) {
      const __m256i distance =
          _mm256_sub_epi32(top, Load(scores + tile * kKeyTile + kHalfKeys * half));
      const __m256i weight =
          _mm256_and_si256(Exp2(task.tables->exp2.data(), distance), SeenMask(seen, half));
      Store(weights + (tile - begin) * kKeyTile + kHalfKeys * half, weight);
      sum = _mm256_add_epi32(sum, weight);
    }
  }
  alignas(32) uint32_t lanes[8];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), sum);
  uint64_t total = 0;
  for (const uint32_t lane : lanes) {
    total += lane;
  }
  return total;
}

// The chunk's weights aligned for one block of values and cut into words: for each four keys
// 16 bytes: low words of keys 0 and 2, of 1 and 3, high words of 0 and 2, of 1 and 3.
void CutWeights(const AttendTask& task, const int32_t* weights, int64_t block, int largest,
                int64_t begin, int64_t end, uint8_t* digits) {
  const __m256i pick = _mm256_broadcastsi128_si256(
      _mm_set_epi8(15, 14, 7, 6, 11, 10, 3, 2, 13, 12, 5, 4, 9, 8, 1, 0));
  const __m256i zero = _mm256_setzero_si256();
  const __m256i one = _mm256_set1_epi32(1);
  for (int64_t tile = begin; tile < end; ++tile) {
    for (int half = 0; half < kHalves; ++half) {
      const __m256i shift =
          Widen(task.value_shifts + (tile * task.blocks + block) * kKeyTile + kHalfKeys * half);
      // Up by 6 - spread when that is positive, else down with rounding. Keys beyond the last have
      // whatever shift and no weight.
      const __m256i up =
          _mm256_add_epi32(shift, _mm256_set1_epi32(numerics::kValueHeadroom - largest));
      const __m256i down = _mm256_max_epi32(_mm256_sub_epi32(zero, up), zero);
      const __m256i rounding = _mm256_srli_epi32(_mm256_sllv_epi32(one, down), 1);
      __m256i weight = Load(weights + (tile - begin) * kKeyTile + kHalfKeys * half);
      weight = _mm256_sllv_epi32(weight, _mm256_max_epi32(up, zero));
      weight = _mm256_srlv_epi32(_mm256_add_epi32(weight, rounding), down);
      const __m256i high = _mm256_add_epi32(weight, _mm256_set1_epi32(1 << 15));
      Store(digits + (tile - begin) * kDigitBytes + 32 * half,
            _mm256_shuffle_epi8(_mm256_blend_epi16(weight, high, 0xaa), pick));
    }
  }
}

// sums[8 channels] += Σ over the chunk, from the sums of the two words.
ETCH_INLINE void JoinWords(__m256i low, __m256i high, int64_t* sums) {
  const auto join = [&](__m128i low_part, __m128i high_part, int64_t* at) {
    const __m256i joined = _mm256_add_epi64(
        _mm256_cvtepi32_epi64(low_part), _mm256_slli_epi64(_mm256_cvtepi32_epi64(high_part), 16));
    Store(at, _mm256_add_epi64(Load(at), joined));
  };
  join(_mm256_castsi256_si128(low), _mm256_castsi256_si128(high), sums);
  join(_mm256_extracti128_si256(low, 1), _mm256_extracti128_si256(high, 1), sums + 4);
}

// kGroups groups of 8 channels (at most one block) over the tiles of a chunk.
template <int kGroups>
void SumBlock(const AttendTask& task, int64_t channel, int64_t begin, int64_t end,
              const uint8_t* digits, int64_t* sums) {
  __m256i low[kGroups];
  __m256i high[kGroups];
  for (int group = 0; group < kGroups; ++group) {
    low[group] = _mm256_setzero_si256();
    high[group] = _mm256_setzero_si256();
  }
  for (int64_t quad = 4 * begin; quad < 4 * end; ++quad) {
    const uint8_t* words = digits + (quad - 4 * begin) * 16;
    const __m256i low_even = BroadcastWord(words);
    const __m256i low_odd = BroadcastWord(words + 4);
    const __m256i high_even = BroadcastWord(words + 8);
    const __m256i high_odd = BroadcastWord(words + 12);
    const int8_t* values = task.values + (quad * task.value_channels + channel) * 4;
    for (int group = 0; group < kGroups; ++group) {
      const __m256i value = Load(values + 32 * group);
      const __m256i even = _mm256_srai_epi16(_mm256_slli_epi16(value, 8), 8);
      const __m256i odd = _mm256_srai_epi16(value, 8);
      low[group] = _mm256_add_epi32(low[group], _mm256_add_epi32(_mm256_madd_epi16(even, low_even),
                                                                 _mm256_madd_epi16(odd, low_odd)));
      high[group] = _mm256_add_epi32(
          high[group],
          _mm256_add_epi32(_mm256_madd_epi16(even, high_even), _mm256_madd_epi16(odd, high_odd)));
    }
  }
  for (int group = 0; group < kGroups; ++group) {
    JoinWords(low[group], high[group], sums + channel + 8 * group);
  }
}

// The largest shift of each block of the values that are seen.
void LargestShifts(const AttendTask& task, uint8_t* out) {
  const __m128i key = _mm_set_epi8(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  for (int64_t block = 0; block < task.blocks; ++block) {
    __m128i largest = _mm_setzero_si128();
    for (int64_t tile = 0; tile < KeyTiles(task.visible); ++tile) {
      const __m128i shifts = _mm_loadu_si128(reinterpret_cast<const __m128i*>(
          task.value_shifts + (tile * task.blocks + block) * kKeyTile));
      const __m128i seen = _mm_cmpgt_epi8(_mm_set1_epi8(static_cast<char>(Seen(task, tile))), key);
      largest = _mm_max_epu8(largest, _mm_and_si128(shifts, seen));
    }
    alignas(16) uint8_t lanes[16];
    _mm_store_si128(reinterpret_cast<__m128i*>(lanes), largest);
    out[block] = 0;
    for (const uint8_t lane : lanes) {
      out[block] = lane > out[block] ? lane : out[block];
    }
  }
}

}  // namespace

void Attend(const AttendTask& task) {
  if (!FitsVectors(task)) {
    AttendPlainly(task);
    return;
  }
  ETCH_DCHECK(task.heads <= kMaxTaskHeads);
  const AttendMemory memory = CutScratch(task);
  const int64_t tiles = KeyTiles(task.visible);
  uint8_t largest_shifts[kMaxBlocks];
  LargestShifts(task, largest_shifts);

  int32_t best[kMaxTaskHeads];
  int64_t scored = 0;
  for (; scored + 4 <= task.heads; scored += 4) {
    ScoreHeads<4>(task, memory, scored, best);
  }
  for (; scored < task.heads; ++scored) {
    ScoreHeads<1>(task, memory, scored, best);
  }

  uint64_t weight_sums[kMaxTaskHeads] = {};
  std::memset(memory.sums, 0,
              static_cast<size_t>(task.heads * task.value_channels) * sizeof *memory.sums);
  for (int64_t begin = 0; begin < tiles; begin += kChunkTiles) {
    const int64_t end = Smaller(begin + kChunkTiles, tiles);
    for (int64_t head = 0; head < task.heads; ++head) {
      weight_sums[head] += WeighChunk(task, memory.scores + head * memory.score_stride, best[head],
                                      begin, end, memory.weights);
      int64_t* sums = memory.sums + head * task.value_channels;
      for (int64_t block = 0; block < task.blocks; ++block) {
        CutWeights(task, memory.weights, block, largest_shifts[block], begin, end, memory.digits);
        const int64_t channel = block * kBlock;
        if (channel + 16 < task.value_channels) {
          SumBlock<4>(task, channel, begin, end, memory.digits, sums);
        } else {
          SumBlock<2>(task, channel, begin, end, memory.digits, sums);
        }
      }
    }
  }
  for (int64_t head = 0; head < task.heads; ++head) {
    FinishHead(task, head, weight_sums[head], memory.sums + head * task.value_channels,
               {largest_shifts, static_cast<size_t>(task.blocks)});
  }
}

}  // namespace etch::engine::avx2
