#pragma once

// One query head over the keys and values of a session's context: the two passes of the contract,
// written once for the integer backends.

#include <cstdint>
#include <span>
#include <vector>

#include "engine/kv_cache.h"
#include "image/image.h"

namespace etch::engine {

// Memory that Attend reuses from call to call; one for each thread.
struct AttendScratch {
  std::vector<int32_t> scores;
  numerics::AttentionMaxima maxima;
  numerics::AttentionSums sums;
};

// out: head_dim values, I32. Keys 0 … visible-1 of `layer` are seen.
void Attend(const image::Image& image, const KvCache& cache, const numerics::HeadCodes& query,
            int64_t layer, int64_t kv_head, int64_t visible, AttendScratch& scratch,
            std::span<int32_t> out);

}  // namespace etch::engine
