#pragma once

// Causal attention with grouped heads, forward and backward, over sequences that stand end to end
// in one matrix and do not see each other.

#include <cstdint>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "model/config.h"

namespace etch::tune {

// Tokens [begin, end) of a batch that attend to each other.
struct Segment {
  int64_t begin = 0;
  int64_t end = 0;
};

// queries (tokens, q_dim), keys and values (tokens, kv_dim), rotated; out (tokens, q_dim).
void Attend(ThreadPool& pool, const model::Config& config, std::span<const Segment> segments,
            const float* queries, const float* keys, const float* values, float* out);

// From d_out (tokens, q_dim): d_queries, d_keys, d_values, which are overwritten. The weights of
// attention are computed again instead of kept. `out` is what Attend wrote.
void AttendBackward(ThreadPool& pool, const model::Config& config,
                    std::span<const Segment> segments, const float* queries, const float* keys,
                    const float* values, const float* out, const float* d_out, float* d_queries,
                    float* d_keys, float* d_values);

}  // namespace etch::tune
