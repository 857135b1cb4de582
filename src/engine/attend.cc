#include "engine/attend.h"

#include <algorithm>

namespace etch::engine {

void Attend(const image::Image& image, const KvCache& cache, const numerics::HeadCodes& query,
            int64_t layer, int64_t kv_head, int64_t visible, AttendScratch& scratch,
            std::span<int32_t> out) {
  // First pass: every score, the largest of them, and the largest shift of each value block.
  scratch.scores.resize(static_cast<size_t>(visible));
  scratch.maxima.score = -numerics::kMax32;
  scratch.maxima.value_shifts.assign(query.shifts.size(), 0);
  for (int64_t key = 0; key < visible; ++key) {
    const int32_t score =
        numerics::Score(query, cache.Key(layer, key, kv_head), image.score_scale());
    scratch.scores[static_cast<size_t>(key)] = score;
    scratch.maxima.score = std::max(scratch.maxima.score, score);
    const numerics::ValueCodes value = cache.Value(layer, key, kv_head);
    for (size_t block = 0; block < value.shifts.size(); ++block) {
      uint8_t& largest = scratch.maxima.value_shifts[block];
      largest = std::max(largest, value.shifts[block]);
    }
  }
  // Second pass: weights and sums.
  scratch.sums.weight = 0;
  scratch.sums.values.assign(out.size(), 0);
  for (int64_t key = 0; key < visible; ++key) {
    numerics::AddKey(scratch.scores[static_cast<size_t>(key)], cache.Value(layer, key, kv_head),
                     scratch.maxima, image.tables(), scratch.sums);
  }
  numerics::FinishAttention(scratch.sums, scratch.maxima, out);
}

}  // namespace etch::engine
