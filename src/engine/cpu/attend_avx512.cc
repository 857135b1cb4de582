// Attention of some query heads over one key/value head, sixteen keys at a time
// (docs/numeric-contract.md §9; the layout is in kv_tiles.h).
//
// Pass one. A lane is a key. vpdpwssd multiplies a pair of channels of sixteen keys by the query's
// pair, broadcast; after the 16 pairs of a block the sum is D, below 2^31 by the contract. Rounding
// D / 2^s needs one bit more than D has, so it is done as ((D >> (s-1)) + 1) >> 1. That and the sum
// over blocks fit 32 bits when every s ≥ 4, which holds unless queries and keys are very large
// together; a tile where it may not is left to the definition.
//
// Pass two, in chunks of sixteen tiles whose values stay in the first-level cache for all heads.
// Weights have up to 30 bits, values 8, and the sums must be exact: a weight is cut into as many
// bytes as the chunk's weights need, vpdpbusd sums each byte's products apart (a lane is a channel,
// four keys a step), and the sums of a chunk are joined in 64 bits.

#include <immintrin.h>

#include <array>
#include <cstring>

#include "engine/cpu/attend_parts.h"
#include "engine/cpu/kernels_avx512.h"
#include "model/config.h"

namespace etch::engine::avx512 {
namespace {

#define ETCH_INLINE inline __attribute__((always_inline))

using numerics::kBlock;
constexpr int64_t kChunkTiles = 16;
constexpr int64_t kMaxBlocks = model::kMaxHeadDim / kBlock;
// Keys are asked for twice, as weights are (read_ahead.h): so many tiles ahead of their use.
constexpr int64_t kFarTiles = 8;
constexpr int64_t kNearTiles = 2;
constexpr int kRawShift = 20;  // point of q·k above the raw score's

ETCH_INLINE __m512i Widen(const uint8_t* bytes) {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)));
}

ETCH_INLINE __m512i BroadcastPair(const int16_t* codes) {
  int32_t pair = 0;
  std::memcpy(&pair, codes, sizeof pair);
  return _mm512_set1_epi32(pair);
}

// sat(raw · mantissa / 2^down), rounded.
ETCH_INLINE __m512i ScaleScores(__m512i raw, __m512i mantissa, int down) {
  const __m512i half = _mm512_set1_epi64((int64_t{1} << down) >> 1);
  const __m128i count = _mm_cvtsi32_si128(down);
  const __m512i limit = _mm512_set1_epi64(numerics::kMax32);
  const __m512i floor = _mm512_set1_epi64(-int64_t{numerics::kMax32});
  const auto scale = [&](__m512i values) {
    const __m512i product = _mm512_add_epi64(_mm512_mul_epi32(values, mantissa), half);
    return _mm512_max_epi64(_mm512_min_epi64(_mm512_sra_epi64(product, count), limit), floor);
  };
  const __m512i even = scale(raw);
  const __m512i odd = scale(_mm512_srli_epi64(raw, 32));
  return _mm512_mask_blend_epi32(0xaaaa, even, _mm512_slli_epi64(odd, 32));
}

// What pass one reads again and again of kHeads query heads.
template <int kHeads>
struct QueryHeads {
  int64_t first;
  // How far a block's products are shifted down, but for the key's shift and the last place.
  int32_t down[kMaxBlocks][kHeads];
  // A key with a larger shift in a block takes some product of the heads beyond 32 bits; below 0:
  // every key does.
  int largest_key_shift[kMaxBlocks];

  QueryHeads(const AttendTask& task, int64_t head) : first(head) {
    for (int64_t block = 0; block < std::min(task.blocks, kMaxBlocks); ++block) {
      int largest = 0;
      for (int which = 0; which < kHeads; ++which) {
        const int shift = task.query_shifts[(head + which) * task.blocks + block];
        down[block][which] = kRawShift - 1 - shift;
        largest = std::max(largest, shift);
      }
      largest_key_shift[block] = kRawShift - 1 - 3 - largest;
    }
  }
};

// Whether some product of the heads with a key of the tile may leave 32 bits.
template <int kHeads>
ETCH_INLINE bool AnyWide(const AttendTask& task, const QueryHeads<kHeads>& heads, int64_t tile,
                         __mmask16 seen) {
  __mmask16 wide = 0;
  for (int64_t block = 0; block < task.blocks; ++block) {
    const uint8_t* shifts = task.key_shifts + (tile * task.blocks + block) * kKeyTile;
    wide |=
        _mm512_cmpgt_epi32_mask(Widen(shifts), _mm512_set1_epi32(heads.largest_key_shift[block]));
  }
  return (wide & seen) != 0;
}

// Raw scores of kTiles tiles for kHeads query heads together, so that each key is loaded once and
// each broadcast of a query serves kTiles tiles. raw: (tiles, heads). Of no use where a product
// leaves 32 bits.
template <int kTiles, int kHeads>
ETCH_INLINE void RawScores(const AttendTask& task, const QueryHeads<kHeads>& heads, int64_t tile,
                           __m512i* raw) {
  const int64_t tile_codes = task.head_dim * kKeyTile;
  const int16_t* keys = task.keys + tile * tile_codes;
  const uint8_t* shifts = task.key_shifts + tile * task.blocks * kKeyTile;
  const int16_t* queries = task.queries + heads.first * task.head_dim;
  for (int which = 0; which < kTiles * kHeads; ++which) {
    raw[which] = _mm512_setzero_si512();
  }
  for (int64_t block = 0; block < task.blocks; ++block) {
    __m512i dot[kTiles * kHeads];
    for (int which = 0; which < kTiles * kHeads; ++which) {
      dot[which] = _mm512_setzero_si512();
    }
    const int64_t end = std::min((block + 1) * kBlock, task.head_dim);
    for (int64_t channel = block * kBlock; channel < end; channel += 2) {
      __m512i pair[kTiles];
      for (int at = 0; at < kTiles; ++at) {
        const int16_t* place = keys + at * tile_codes + channel * kKeyTile;
        pair[at] = _mm512_loadu_si512(place);
        _mm_prefetch(reinterpret_cast<const char*>(place + kFarTiles * tile_codes), _MM_HINT_T1);
        _mm_prefetch(reinterpret_cast<const char*>(place + kNearTiles * tile_codes), _MM_HINT_T0);
      }
      for (int which = 0; which < kHeads; ++which) {
        const __m512i query = BroadcastPair(queries + which * task.head_dim + channel);
        for (int at = 0; at < kTiles; ++at) {
          dot[at * kHeads + which] = _mm512_dpwssd_epi32(dot[at * kHeads + which], pair[at], query);
        }
      }
    }
    for (int at = 0; at < kTiles; ++at) {
      const __m512i key_shift = Widen(shifts + (at * task.blocks + block) * kKeyTile);
      for (int which = 0; which < kHeads; ++which) {
        const int slot = at * kHeads + which;
        const __m512i down =
            _mm512_sub_epi32(_mm512_set1_epi32(heads.down[block][which]), key_shift);
        const __m512i rounded = _mm512_srai_epi32(
            _mm512_add_epi32(_mm512_srav_epi32(dot[slot], down), _mm512_set1_epi32(1)), 1);
        raw[slot] = _mm512_add_epi32(raw[slot], rounded);
      }
    }
  }
}

// Scores of the tiles [tile, tile + kTiles) of some heads into memory, and the largest of each
// head.
template <int kTiles, int kHeads>
ETCH_INLINE void ScoreTiles(const AttendTask& task, const AttendMemory& memory,
                            const QueryHeads<kHeads>& heads, int64_t tile, __m512i* largest) {
  const __m512i mantissa = _mm512_set1_epi64(task.score_scale.mantissa);
  const int down = -(task.score_scale.exponent + 4);
  __m512i raw[kTiles * kHeads];
  RawScores<kTiles, kHeads>(task, heads, tile, raw);
  for (int at = 0; at < kTiles; ++at) {
    const int64_t first = (tile + at) * kKeyTile;
    const int64_t seen = std::min(task.visible - first, kKeyTile);
    const auto mask = static_cast<__mmask16>((1U << seen) - 1);
    const bool wide = AnyWide(task, heads, tile + at, mask);
    for (int which = 0; which < kHeads; ++which) {
      const int64_t head = heads.first + which;
      int32_t* scores = memory.scores + head * memory.score_stride + first;
      __m512i score = ScaleScores(raw[at * kHeads + which], mantissa, down);
      if (wide) [[unlikely]] {
        for (int64_t key = 0; key < seen; ++key) {
          scores[key] = ScoreOfKey(task, head, first + key);
        }
        score = _mm512_loadu_si512(scores);
      }
      // Keys beyond the last are as far away as can be and weigh nothing (see WeighChunk).
      score = _mm512_mask_blend_epi32(mask, _mm512_set1_epi32(-numerics::kMax32), score);
      _mm512_storeu_si512(scores, score);
      largest[which] = _mm512_max_epi32(largest[which], score);
    }
  }
}

template <int kHeads>
void ScoreHeads(const AttendTask& task, const AttendMemory& memory, int64_t head, int32_t* best) {
  const int64_t tiles = KeyTiles(task.visible);
  const QueryHeads<kHeads> heads(task, head);
  __m512i largest[kHeads];
  for (int which = 0; which < kHeads; ++which) {
    largest[which] = _mm512_set1_epi32(-numerics::kMax32);
  }
  int64_t tile = 0;
  for (; tile + 1 < tiles; tile += 2) {
    ScoreTiles<2, kHeads>(task, memory, heads, tile, largest);
  }
  if (tile < tiles) {
    ScoreTiles<1, kHeads>(task, memory, heads, tile, largest);
  }
  for (int which = 0; which < kHeads; ++which) {
    best[head + which] = _mm512_reduce_max_epi32(largest[which]);
  }
}

// The exp2 table in registers: entries and the steps to the next.
struct Exp2Table {
  __m512i entry[4];
  __m512i step[4];

  explicit Exp2Table(const numerics::FunctionTables& tables) {
    for (int quarter = 0; quarter < 4; ++quarter) {
      entry[quarter] = _mm512_loadu_si512(tables.exp2.data() + 16 * quarter);
      step[quarter] = _mm512_sub_epi32(entry[quarter],
                                       _mm512_loadu_si512(tables.exp2.data() + 16 * quarter + 1));
    }
  }
  ETCH_INLINE static __m512i At(const __m512i* table, __m512i index) {
    const __mmask16 upper = _mm512_test_epi32_mask(index, _mm512_set1_epi32(32));
    return _mm512_mask_blend_epi32(upper, _mm512_permutex2var_epi32(table[0], index, table[1]),
                                   _mm512_permutex2var_epi32(table[2], index, table[3]));
  }
  // numerics::Exp2Negative of a distance below 2^32. Needs steps below 2^21 (see Attend).
  ETCH_INLINE __m512i operator()(__m512i distance) const {
    const __m512i index = _mm512_and_si512(_mm512_srli_epi32(distance, 10), _mm512_set1_epi32(63));
    const __m512i fraction = _mm512_and_si512(distance, _mm512_set1_epi32(1023));
    const __m512i fall = _mm512_srai_epi32(
        _mm512_add_epi32(_mm512_mullo_epi32(At(step, index), fraction), _mm512_set1_epi32(512)),
        10);
    const __m512i value = _mm512_sub_epi32(At(entry, index), fall);
    // A value of at most 2^24 shifted by 26 or more rounds to zero.
    const __m512i whole = _mm512_min_epu32(_mm512_srli_epi32(distance, 16), _mm512_set1_epi32(30));
    const __m512i half = _mm512_srli_epi32(_mm512_sllv_epi32(_mm512_set1_epi32(1), whole), 1);
    return _mm512_srlv_epi32(_mm512_add_epi32(value, half), whole);
  }
};

// Weights of the tiles [begin, end) of one head, with kValueHeadroom zeros below; returns their sum
// without.
uint64_t WeighChunk(const AttendTask& task, const Exp2Table& exp2, const int32_t* scores,
                    int32_t best, int64_t begin, int64_t end, int32_t* weights) {
  const __m512i top = _mm512_set1_epi32(best);
  __m512i sum = _mm512_setzero_si512();  // 16 tiles of 2^24: below 2^29
  for (int64_t tile = begin; tile < end; ++tile) {
    __m512i weight = exp2(_mm512_sub_epi32(top, _mm512_loadu_si512(scores + tile * kKeyTile)));
    const int64_t seen = std::min(task.visible - tile * kKeyTile, kKeyTile);
    weight = _mm512_maskz_mov_epi32(static_cast<__mmask16>((1U << seen) - 1), weight);
    _mm512_storeu_si512(weights + (tile - begin) * kKeyTile,
                        _mm512_slli_epi32(weight, numerics::kValueHeadroom));
    sum = _mm512_add_epi32(sum, weight);
  }
  return static_cast<uint64_t>(_mm512_reduce_add_epi64(
      _mm512_add_epi64(_mm512_cvtepu32_epi64(_mm512_castsi512_si256(sum)),
                       _mm512_cvtepu32_epi64(_mm512_extracti64x4_epi64(sum, 1)))));
}

// Which bits the weights of a chunk have once they are aligned: [lowest, lowest + 8 · digits).
struct Digits {
  int lowest = 0;
  int count = 0;  // 0: no key of the chunk has any weight
};

// The chunk's weights aligned for one block of values, cut into the bytes that they need: for each
// tile 16 bytes of the lowest digit, 16 of the next, and so on. Weights far below the best key's,
// as most are of a long context, need fewer than four.
Digits CutWeights(const AttendTask& task, const int32_t* weights, int64_t block, int largest,
                  int64_t begin, int64_t end, uint8_t* digits) {
  const __m512i gather =
      _mm512_set_epi32(0x3f3b3733, 0x2f2b2723, 0x1f1b1713, 0x0f0b0703, 0x3e3a3632, 0x2e2a2622,
                       0x1e1a1612, 0x0e0a0602, 0x3d393531, 0x2d292521, 0x1d191511, 0x0d090501,
                       0x3c383430, 0x2c282420, 0x1c181410, 0x0c080400);
  const __m512i most = _mm512_set1_epi32(largest);
  __m512i bits = _mm512_setzero_si512();
  for (int64_t tile = begin; tile < end; ++tile) {
    // numerics::AlignWeight: the zeros below make its shift up exact. A spread of 32 or more leaves
    // nothing, as there; so does the negative one of a key beyond the last, which has no weight.
    const __m512i spread =
        _mm512_sub_epi32(most, Widen(task.value_shifts + (tile * task.blocks + block) * kKeyTile));
    const __m512i half = _mm512_srli_epi32(_mm512_sllv_epi32(_mm512_set1_epi32(1), spread), 1);
    __m512i weight = _mm512_loadu_si512(weights + (tile - begin) * kKeyTile);
    weight = _mm512_srlv_epi32(_mm512_add_epi32(weight, half), spread);
    bits = _mm512_or_si512(bits, weight);
    _mm512_storeu_si512(digits + (tile - begin) * 64, weight);
  }
  const auto used = static_cast<uint32_t>(_mm512_reduce_or_epi32(bits));
  if (used == 0) {
    return {};
  }
  const int lowest = __builtin_ctz(used);
  const __m128i lowest_count = _mm_cvtsi32_si128(lowest);
  for (int64_t tile = begin; tile < end; ++tile) {
    uint8_t* at = digits + (tile - begin) * 64;
    const __m512i weight = _mm512_srl_epi32(_mm512_loadu_si512(at), lowest_count);
    _mm512_storeu_si512(at, _mm512_permutexvar_epi8(gather, weight));
  }
  return {lowest, (32 - __builtin_clz(used) - lowest + 7) / 8};
}

// sums[16 channels] += Σ over the chunk, from the sums of its digits.
template <int kDigits>
ETCH_INLINE void JoinDigits(const __m512i* digit_sums, int lowest, int64_t* sums) {
  const __m128i lowest_count = _mm_cvtsi32_si128(lowest);
  for (int half = 0; half < 2; ++half) {
    __m512i joined = _mm512_setzero_si512();
    for (int digit = 0; digit < kDigits; ++digit) {
      const __m512i part =
          _mm512_cvtepi32_epi64(half == 0 ? _mm512_castsi512_si256(digit_sums[digit])
                                          : _mm512_extracti64x4_epi64(digit_sums[digit], 1));
      joined = _mm512_add_epi64(joined, _mm512_slli_epi64(part, 8 * static_cast<uint32_t>(digit)));
    }
    const __m512i old = _mm512_loadu_si512(sums + 8 * half);
    _mm512_storeu_si512(sums + 8 * half,
                        _mm512_add_epi64(old, _mm512_sll_epi64(joined, lowest_count)));
  }
}

// kGroups groups of 16 channels (one block) over the tiles of a chunk, in weights of kDigits bytes.
template <int kGroups, int kDigits>
void SumDigits(const AttendTask& task, int64_t channel, int64_t begin, int64_t end,
               const uint8_t* digits, int lowest, int64_t* sums) {
  __m512i acc[kGroups][kDigits];
  for (int group = 0; group < kGroups; ++group) {
    for (int digit = 0; digit < kDigits; ++digit) {
      acc[group][digit] = _mm512_setzero_si512();
    }
  }
  for (int64_t tile = begin; tile < end; ++tile) {
    for (int quad = 0; quad < 4; ++quad) {
      __m512i weight[kDigits];
      for (int digit = 0; digit < kDigits; ++digit) {
        int32_t word = 0;
        std::memcpy(&word, digits + (tile - begin) * 64 + 16 * digit + 4 * quad, sizeof word);
        weight[digit] = _mm512_set1_epi32(word);
      }
      for (int group = 0; group < kGroups; ++group) {
        const __m512i value = _mm512_loadu_si512(
            task.values + ((tile * 4 + quad) * task.value_channels + channel + 16 * group) * 4);
        for (int digit = 0; digit < kDigits; ++digit) {
          acc[group][digit] = _mm512_dpbusd_epi32(acc[group][digit], weight[digit], value);
        }
      }
    }
  }
  for (int group = 0; group < kGroups; ++group) {
    JoinDigits<kDigits>(acc[group], lowest, sums + channel + 16 * group);
  }
}

template <int kGroups>
void SumBlock(const AttendTask& task, int64_t channel, int64_t begin, int64_t end,
              const uint8_t* bytes, const Digits& digits, int64_t* sums) {
  switch (digits.count) {
    case 0:
      return;
    case 1:
      return SumDigits<kGroups, 1>(task, channel, begin, end, bytes, digits.lowest, sums);
    case 2:
      return SumDigits<kGroups, 2>(task, channel, begin, end, bytes, digits.lowest, sums);
    case 3:
      return SumDigits<kGroups, 3>(task, channel, begin, end, bytes, digits.lowest, sums);
    default:
      return SumDigits<kGroups, 4>(task, channel, begin, end, bytes, digits.lowest, sums);
  }
}

std::array<uint8_t, kMaxBlocks> LargestShifts(const AttendTask& task) {
  std::array<uint8_t, kMaxBlocks> out{};
  for (int64_t block = 0; block < std::min(task.blocks, kMaxBlocks); ++block) {
    __m128i largest = _mm_setzero_si128();
    for (int64_t tile = 0; tile < KeyTiles(task.visible); ++tile) {
      const int64_t seen = std::min(task.visible - tile * kKeyTile, kKeyTile);
      largest = _mm_max_epu8(
          largest,
          _mm_maskz_loadu_epi8(static_cast<__mmask16>((1U << seen) - 1),
                               task.value_shifts + (tile * task.blocks + block) * kKeyTile));
    }
    // The largest of sixteen bytes: the smallest of their complements, which the processor finds in
    // 16-bit lanes once the odd bytes are joined with the even.
    const __m128i all = _mm_set1_epi8(-1);
    const __m128i complement = _mm_xor_si128(largest, all);
    const __m128i pairs = _mm_min_epu8(complement, _mm_srli_epi16(complement, 8));
    out[static_cast<size_t>(block)] = static_cast<uint8_t>(
        ~_mm_cvtsi128_si32(_mm_minpos_epu16(_mm_and_si128(pairs, _mm_set1_epi16(255)))));
  }
  return out;
}

// Asks for one of `parts` equal parts of the chunk of values that begins at `tile`.
ETCH_INLINE void PrefetchValues(const AttendTask& task, int64_t tile, int64_t part, int64_t parts) {
  const int64_t tile_bytes = task.value_channels * kKeyTile;
  const char* chunk = reinterpret_cast<const char*>(task.values) + tile * tile_bytes;
  const int64_t lines = kChunkTiles * tile_bytes / 64;
  for (int64_t line = lines * part / parts; line < lines * (part + 1) / parts; ++line) {
    _mm_prefetch(chunk + 64 * line, _MM_HINT_T1);
  }
}

}  // namespace

void Attend(const AttendTask& task) {
  if (!FitsVectors(task)) {
    AttendPlainly(task);
    return;
  }
  ETCH_DCHECK(task.heads <= kMaxTaskHeads && task.blocks <= kMaxBlocks);
  const AttendMemory memory = CutScratch(task);
  const int64_t tiles = KeyTiles(task.visible);
  const std::array<uint8_t, kMaxBlocks> largest_shifts = LargestShifts(task);

  std::array<int32_t, kMaxTaskHeads> best;
  int64_t scored = 0;
  for (; scored + 4 <= task.heads; scored += 4) {
    ScoreHeads<4>(task, memory, scored, best.data());
  }
  for (; scored < task.heads; ++scored) {
    ScoreHeads<1>(task, memory, scored, best.data());
  }

  std::array<uint64_t, kMaxTaskHeads> weight_sums{};
  std::fill_n(memory.sums, task.heads * task.value_channels, 0);
  const Exp2Table exp2(*task.tables);
  for (int64_t begin = 0; begin < tiles; begin += kChunkTiles) {
    const int64_t end = std::min(begin + kChunkTiles, tiles);
    for (int64_t head = 0; head < task.heads; ++head) {
      const auto at = static_cast<size_t>(head);
      weight_sums[at] += WeighChunk(task, exp2, memory.scores + head * memory.score_stride,
                                    best[at], begin, end, memory.weights);
      int64_t* sums = memory.sums + head * task.value_channels;
      for (int64_t block = 0; block < task.blocks; ++block) {
        PrefetchValues(task, begin + kChunkTiles, head * task.blocks + block,
                       task.heads * task.blocks);
        const Digits digits =
            CutWeights(task, memory.weights, block, largest_shifts[static_cast<size_t>(block)],
                       begin, end, memory.digits);
        const int64_t channel = block * kBlock;
        if (channel + 16 < task.value_channels) {
          SumBlock<2>(task, channel, begin, end, memory.digits, digits, sums);
        } else {
          SumBlock<1>(task, channel, begin, end, memory.digits, digits, sums);
        }
      }
    }
  }
  for (int64_t head = 0; head < task.heads; ++head) {
    FinishHeadInVectors(task, head, weight_sums[static_cast<size_t>(head)],
                        memory.sums + head * task.value_channels, largest_shifts);
  }
}

}  // namespace etch::engine::avx512
