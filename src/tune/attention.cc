// A task is one key/value head of one segment with all its query heads, so that the gradients of
// keys and values are summed by one thread in a fixed order. Queries come in blocks, each against
// the keys up to its last row: the matrix of weights is never whole, and the upper triangle is
// mostly left out.

#include "tune/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "tune/elementwise.h"
#include "tune/matrix.h"

namespace etch::tune {
namespace {

constexpr int64_t kQueryBlock = 64;

struct Block {
  int64_t begin = 0;  // first query, from the start of the segment
  int64_t rows = 0;   // queries
  int64_t keys = 0;   // keys that the last query sees
};

// weights (rows, keys) = softmax of scores · 1/sqrt(head_dim), causal.
void Weights(const Block& block, int64_t head_dim, const float* queries, int64_t q_stride,
             const float* keys, int64_t kv_stride, float* weights) {
  const float scale = 1.0F / std::sqrt(static_cast<float>(head_dim));
  MultiplyHere(block.rows, block.keys, head_dim, scale, {queries, q_stride, false},
               {keys, kv_stride, true}, 0.0F, {weights, block.keys});
  for (int64_t row = 0; row < block.rows; ++row) {
    float* line = weights + row * block.keys;
    const int64_t seen = block.begin + row + 1;
    Softmax({line, static_cast<size_t>(seen)});
    std::fill(line + seen, line + block.keys, 0.0F);
  }
}

// Calls body(segment, kv_head) for every pair, by all threads.
template <class Body>
void ForEachTask(ThreadPool& pool, const model::Config& config, std::span<const Segment> segments,
                 const Body& body) {
  const int64_t heads = config.n_kv_heads;
  pool.ParallelFor(std::ssize(segments) * heads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      body(segments[static_cast<size_t>(task / heads)], task % heads);
    }
  });
}

template <class Body>
void ForEachBlock(const Segment& segment, const Body& body) {
  const int64_t length = segment.end - segment.begin;
  for (int64_t begin = 0; begin < length; begin += kQueryBlock) {
    const int64_t rows = std::min(kQueryBlock, length - begin);
    body(Block{begin, rows, begin + rows});
  }
}

float* Scratch(std::vector<float>& memory, int64_t size) {
  if (std::ssize(memory) < size) {
    memory.resize(static_cast<size_t>(size));
  }
  return memory.data();
}

}  // namespace

void Attend(ThreadPool& pool, const model::Config& config, std::span<const Segment> segments,
            const float* queries, const float* keys, const float* values, float* out) {
  const int64_t head_dim = config.head_dim;
  const int64_t q_dim = config.q_dim();
  const int64_t kv_dim = config.kv_dim();
  const int64_t group = config.n_heads / config.n_kv_heads;
  ForEachTask(pool, config, segments, [&](const Segment& segment, int64_t kv_head) {
    thread_local std::vector<float> memory;
    float* weights = Scratch(memory, kQueryBlock * (segment.end - segment.begin));
    const int64_t kv_offset = segment.begin * kv_dim + kv_head * head_dim;
    for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
      ForEachBlock(segment, [&](const Block& block) {
        const int64_t offset = (segment.begin + block.begin) * q_dim + head * head_dim;
        Weights(block, head_dim, queries + offset, q_dim, keys + kv_offset, kv_dim, weights);
        MultiplyHere(block.rows, head_dim, block.keys, 1.0F, {weights, block.keys, false},
                     {values + kv_offset, kv_dim, false}, 0.0F, {out + offset, q_dim});
      });
    }
  });
}

// With P the weights and D_i = Σ_d dO_id · O_id:
//   dV = Pᵀ dO,  dP = dO Vᵀ,  dS = P ∘ (dP - D),  dQ = dS K / √d,  dK = dSᵀ Q / √d.
void AttendBackward(ThreadPool& pool, const model::Config& config,
                    std::span<const Segment> segments, const float* queries, const float* keys,
                    const float* values, const float* out, const float* d_out, float* d_queries,
                    float* d_keys, float* d_values) {
  const int64_t head_dim = config.head_dim;
  const int64_t q_dim = config.q_dim();
  const int64_t kv_dim = config.kv_dim();
  const int64_t group = config.n_heads / config.n_kv_heads;
  const float scale = 1.0F / std::sqrt(static_cast<float>(head_dim));
  ForEachTask(pool, config, segments, [&](const Segment& segment, int64_t kv_head) {
    thread_local std::vector<float> memory;
    const int64_t length = segment.end - segment.begin;
    float* weights = Scratch(memory, 2 * kQueryBlock * length);
    float* slopes = weights + kQueryBlock * length;
    const int64_t kv_offset = segment.begin * kv_dim + kv_head * head_dim;
    for (int64_t row = 0; row < length; ++row) {
      std::fill_n(d_keys + kv_offset + row * kv_dim, head_dim, 0.0F);
      std::fill_n(d_values + kv_offset + row * kv_dim, head_dim, 0.0F);
    }
    for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
      ForEachBlock(segment, [&](const Block& block) {
        const int64_t offset = (segment.begin + block.begin) * q_dim + head * head_dim;
        const ConstMatrix d_block{d_out + offset, q_dim, false};
        Weights(block, head_dim, queries + offset, q_dim, keys + kv_offset, kv_dim, weights);
        MultiplyHere(block.keys, head_dim, block.rows, 1.0F, {weights, block.keys, true}, d_block,
                     1.0F, {d_values + kv_offset, kv_dim});
        MultiplyHere(block.rows, block.keys, head_dim, 1.0F, d_block,
                     {values + kv_offset, kv_dim, true}, 0.0F, {slopes, block.keys});
        for (int64_t row = 0; row < block.rows; ++row) {
          const float* d_row = d_out + offset + row * q_dim;
          const float* out_row = out + offset + row * q_dim;
          float dot = 0.0F;
          for (int64_t channel = 0; channel < head_dim; ++channel) {
            dot += d_row[channel] * out_row[channel];
          }
          const float* weight = weights + row * block.keys;
          float* slope = slopes + row * block.keys;
          for (int64_t key = 0; key < block.keys; ++key) {
            slope[key] = weight[key] * (slope[key] - dot);
          }
        }
        MultiplyHere(block.rows, head_dim, block.keys, scale, {slopes, block.keys, false},
                     {keys + kv_offset, kv_dim, false}, 0.0F, {d_queries + offset, q_dim});
        MultiplyHere(block.keys, head_dim, block.rows, scale, {slopes, block.keys, true},
                     {queries + offset, q_dim, false}, 1.0F, {d_keys + kv_offset, kv_dim});
      });
    }
  });
}

}  // namespace etch::tune
