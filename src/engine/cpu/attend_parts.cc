#include "engine/cpu/attend_parts.h"

#include <array>

#include "base/error.h"
#include "model/config.h"

namespace etch::engine {
namespace {

using numerics::kBlock;
constexpr int64_t kMaxBlocks = model::kMaxHeadDim / kBlock;

}  // namespace

bool FitsVectors(const AttendTask& task) {
  // numerics::ScoreScale of heads of 2 to 256 channels is a shift down by 11 to 15.
  ETCH_DCHECK(task.score_scale.exponent + 4 < 0);
  int32_t steepest = 0;
  for (size_t entry = 0; entry < 64; ++entry) {
    steepest = std::max(steepest, task.tables->exp2[entry] - task.tables->exp2[entry + 1]);
  }
  return steepest < 1 << 21;
}

int32_t ScoreOfKey(const AttendTask& task, int64_t head, int64_t key) {
  std::array<int16_t, model::kMaxHeadDim> codes;
  std::array<uint8_t, kMaxBlocks> shifts;
  for (int64_t channel = 0; channel < task.head_dim; ++channel) {
    codes[static_cast<size_t>(channel)] = KeyCode(task, key, channel);
  }
  for (int64_t block = 0; block < task.blocks; ++block) {
    shifts[static_cast<size_t>(block)] = KeyShift(task, key, block);
  }
  const auto width = static_cast<size_t>(task.head_dim);
  const auto blocks = static_cast<size_t>(task.blocks);
  return numerics::Score({{task.queries + head * task.head_dim, width},
                          {task.query_shifts + head * task.blocks, blocks}},
                         {std::span<const int16_t>(codes).first(width),
                          std::span<const uint8_t>(shifts).first(blocks)},
                         task.score_scale);
}

HeadEnd EndOf(uint64_t weight) {
  ETCH_DCHECK(weight >= uint64_t{1} << numerics::kExp2Bits);
  const int align = 31 - numerics::BitLength(weight);
  const uint64_t divisor = align >= 0 ? weight << align : weight >> -align;
  return {static_cast<int64_t>((uint64_t{1} << HeadEnd::kReciprocalBits) / divisor),
          HeadEnd::kShorter - align};
}

// numerics::FinishAttention with what only depends on the head or the block outside of the loop:
// there, every shift and saturation asks for its case again. The bounds are §14's of the contract.
void FinishHead(const AttendTask& task, int64_t head, uint64_t weight, const int64_t* sums,
                std::span<const uint8_t> largest_shifts) {
  const auto [reciprocal, narrow] = EndOf(weight);
  const int64_t narrow_half = int64_t{1} << (narrow - 1);
  int32_t* out = task.out + head * task.head_dim;
  for (int64_t block = 0; block < task.blocks; ++block) {
    const int down = HeadEnd::Down(largest_shifts[static_cast<size_t>(block)]);
    const int64_t down_half = int64_t{1} << (down - 1);
    const int64_t end = std::min((block + 1) * kBlock, task.head_dim);
    for (int64_t channel = block * kBlock; channel < end; ++channel) {
      const int64_t value = (sums[channel] + narrow_half) >> narrow;
      out[channel] = numerics::Saturate32((value * reciprocal + down_half) >> down);
    }
  }
}

void AttendPlainly(const AttendTask& task) {
  const AttendMemory memory = CutScratch(task);
  std::array<uint8_t, kMaxBlocks> largest_shifts{};
  for (int64_t key = 0; key < task.visible; ++key) {
    for (int64_t block = 0; block < task.blocks; ++block) {
      uint8_t& largest = largest_shifts[static_cast<size_t>(block)];
      largest = std::max(largest, ValueShift(task, key, block));
    }
  }
  for (int64_t head = 0; head < task.heads; ++head) {
    int32_t* scores = memory.scores + head * memory.score_stride;
    int32_t best = -numerics::kMax32;
    for (int64_t key = 0; key < task.visible; ++key) {
      scores[key] = ScoreOfKey(task, head, key);
      best = std::max(best, scores[key]);
    }
    uint64_t weight_sum = 0;
    int64_t* sums = memory.sums + head * task.value_channels;
    std::fill_n(sums, task.value_channels, 0);
    for (int64_t key = 0; key < task.visible; ++key) {
      const int32_t weight = numerics::Exp2Negative(int64_t{best} - scores[key], *task.tables);
      weight_sum += static_cast<uint64_t>(weight);
      for (int64_t block = 0; block < task.blocks; ++block) {
        const int64_t aligned = numerics::AlignWeight(
            weight, largest_shifts[static_cast<size_t>(block)] - ValueShift(task, key, block));
        const int64_t end = std::min((block + 1) * kBlock, task.head_dim);
        for (int64_t channel = block * kBlock; channel < end; ++channel) {
          sums[channel] += aligned * ValueCode(task, key, channel);
        }
      }
    }
    FinishHead(task, head, weight_sum, sums, largest_shifts);
  }
}

}  // namespace etch::engine
