#pragma once

// Choosing the next token in integers: one seed gives one text on every backend and in every batch.
// docs/numeric-contract.md §12.

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "base/error.h"
#include "numerics/tables.h"

namespace etch::numerics {

// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
std::array<uint32_t, 4> Philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

// Sampling as the API states it. Applied in this order: temperature, top_k, top_p, min_p.
struct SamplingParams {
  double temperature = 0.0;  // 0: greedy; otherwise 0.01 to 100
  int64_t top_k = 0;         // 0: off
  double top_p = 1.0;        // in (0, 1]
  double min_p = 0.0;        // in [0, 1)
  uint64_t seed = 0;
};
// kInvalidArgument naming the field that is out of range.
Status Validate(const SamplingParams& params);

// The same as integers. `inverse_temperature` = log2(e)/temperature, 16 fraction bits;
// probabilities with 16.
struct SamplingConfig {
  bool greedy = true;
  uint64_t inverse_temperature = 0;
  int64_t top_k = 0;
  uint32_t top_p = 1 << 16;
  uint32_t min_p = 0;
  uint64_t seed = 0;
};
SamplingConfig ToConfig(const SamplingParams& params);

// Tokens that may be chosen: bit t % 64 of word t / 64. Empty: all of them. At least one token must
// be allowed.
using AllowedTokens = std::span<const uint64_t>;

// The lowest token id among the largest logits of allowed tokens. logits: R32, not empty.
int32_t Greedy(std::span<const int32_t> logits, AllowedTokens allowed = {});

// Draws a token. `step` counts the tokens drawn for this request, `stream` its parallel choices
// (n): the random number depends on (seed, step, stream) and nothing else.
int32_t Sample(std::span<const int32_t> logits, const SamplingConfig& config, uint64_t step,
               uint32_t stream, const FunctionTables& tables, AllowedTokens allowed = {});

}  // namespace etch::numerics
