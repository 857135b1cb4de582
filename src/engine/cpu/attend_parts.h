#pragma once

// What the attention kernels of every instruction set share: where a call's scratch lies, what is
// rare, and the end of a head.

#include <algorithm>
#include <cstdint>
#include <span>

#include "engine/cpu/kernels.h"
#include "numerics/attention.h"

namespace etch::engine {

// A call's scratch memory, cut up.
struct AttendMemory {
  int32_t* scores;  // (heads, padded keys)
  int64_t score_stride;
  int64_t* sums;     // (heads, value_channels): Σ aligned weight · code
  uint8_t* digits;   // 4096 bytes: weights of one block of one chunk, by bytes
  int32_t* weights;  // 4096 bytes: weights of one chunk (AVX-512: kValueHeadroom bits up)
};

inline AttendMemory CutScratch(const AttendTask& task) {
  AttendMemory memory;
  memory.score_stride = (KeyTiles(task.visible) + 1) * kKeyTile;
  memory.digits = reinterpret_cast<uint8_t*>(task.scratch);
  memory.weights = reinterpret_cast<int32_t*>(task.scratch + 4096);
  memory.scores = reinterpret_cast<int32_t*>(task.scratch + 8192);
  memory.sums = reinterpret_cast<int64_t*>(memory.scores + task.heads * memory.score_stride);
  return memory;
}

// The codes of one key or value of the tiles, as numerics/ wants them. Slow; for what is rare.
inline int16_t KeyCode(const AttendTask& task, int64_t key, int64_t channel) {
  return task
      .keys[((key / kKeyTile * (task.head_dim / 2) + channel / 2) * kKeyTile + key % kKeyTile) * 2 +
            channel % 2];
}
inline int8_t ValueCode(const AttendTask& task, int64_t key, int64_t channel) {
  return task.values[((key / 4) * task.value_channels + channel) * 4 + key % 4];
}
inline uint8_t KeyShift(const AttendTask& task, int64_t key, int64_t block) {
  return task.key_shifts[(key / kKeyTile * task.blocks + block) * kKeyTile + key % kKeyTile];
}
inline uint8_t ValueShift(const AttendTask& task, int64_t key, int64_t block) {
  return task.value_shifts[(key / kKeyTile * task.blocks + block) * kKeyTile + key % kKeyTile];
}

// False when a table of a hostile image falls so steeply that the interpolation of weights leaves
// 32 bits: then the definition is asked for all of the call.
bool FitsVectors(const AttendTask& task);

// The definition's score of one key.
int32_t ScoreOfKey(const AttendTask& task, int64_t head, int64_t key);

// The definition's whole attention of the task's heads: plain, and what the generic set runs.
void AttendPlainly(const AttendTask& task);

// What the end of one head's attention multiplies and shifts by: docs/numeric-contract.md §9.
struct HeadEnd {
  static constexpr int kReciprocalBits = 60;
  static constexpr int kShorter = 12;  // bits that the sums lose, so that the product fits

  int64_t reciprocal = 0;
  int narrow = 0;  // of the sums: 6 … 23

  // Of the product, from a block's largest shift: 29 … 54.
  static constexpr int Down(uint8_t largest_shift) {
    return kReciprocalBits - kShorter + numerics::kValueHeadroom - largest_shift;
  }
};
HeadEnd EndOf(uint64_t weight);

// Σ w and Σ w·v of one head → its head_dim results.
void FinishHead(const AttendTask& task, int64_t head, uint64_t weight, const int64_t* sums,
                std::span<const uint8_t> largest_shifts);

}  // namespace etch::engine
