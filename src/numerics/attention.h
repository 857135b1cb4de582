#pragma once

// Attention in integers: scores, base-2 softmax in two passes, weighted values.
// docs/numeric-contract.md §9.
//
// Each head is cut into blocks of 32 channels (the last may be shorter). Queries and keys are A14,
// values A8, each block with its own shift. Pass one finds the largest score and, for each block of
// the values, the largest shift; pass two forms weights and exact 64-bit sums. Both are maxima or
// integer sums, so any split over the context agrees.

#include <cstdint>
#include <span>
#include <vector>

#include "numerics/activation.h"
#include "numerics/fixed_point.h"
#include "numerics/tables.h"

namespace etch::numerics {

constexpr int64_t HeadBlocks(int64_t head_dim) { return (head_dim + kBlock - 1) / kBlock; }

// log2(e) / sqrt(head_dim): turns q·k into a base-2 exponent.
Scale16 ScoreScale(int64_t head_dim);

// A head's worth of codes with one shift a block. Someone else owns the memory.
struct HeadCodes {
  std::span<const int16_t> codes;   // head_dim
  std::span<const uint8_t> shifts;  // HeadBlocks(head_dim)
};
struct ValueCodes {
  std::span<const int8_t> codes;
  std::span<const uint8_t> shifts;
};

// The score of one key, 16 fraction bits, in units of log2.
int32_t Score(const HeadCodes& query, const HeadCodes& key, Scale16 score_scale);

// 2^-distance with 24 fraction bits, for a distance ≥ 0 with 16 fraction bits. 0 above 25.
int32_t Exp2Negative(int64_t distance, const FunctionTables& tables);

// The running sums of one query head. Feed maxima for every visible key, then Add() for every
// visible key (any order, any split: sums of two accumulators may be added), then Finish().
struct AttentionMaxima {
  int32_t score = -kMax32;
  std::vector<uint8_t> value_shifts;  // one a block
};

struct AttentionSums {
  uint64_t weight = 0;          // Σ w, at most 2^24 · 2^17
  std::vector<int64_t> values;  // head_dim; |Σ| ≤ 2^54
};

// How far the weight of a key is shifted for a block: 6 − (largest value shift − this key's).
inline constexpr int kValueHeadroom = 6;

// A key's weight, aligned for a block of values whose shift is `spread` below the largest.
constexpr int64_t AlignWeight(int32_t weight, int spread) {
  return ShiftBy(weight, kValueHeadroom - spread);
}

void AddKey(int32_t score, const ValueCodes& value, const AttentionMaxima& maxima,
            const FunctionTables& tables, AttentionSums& sums);

// out: head_dim values, I32 with 16 fraction bits.
void FinishAttention(const AttentionSums& sums, const AttentionMaxima& maxima,
                     std::span<int32_t> out);
// The same over someone else's memory: Σ w, Σ w·v of each channel, the largest shift of each block.
void FinishAttention(uint64_t weight, std::span<const int64_t> values,
                     std::span<const uint8_t> value_shifts, std::span<int32_t> out);

}  // namespace etch::numerics
