#include "numerics/sampler.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "numerics/attention.h"  // Exp2Negative
#include "numerics/fixed_point.h"

namespace etch::numerics {
namespace {

struct Candidate {
  int32_t token = 0;
  int32_t logit = 0;
  uint32_t weight = 0;  // 24 fraction bits, relative to the largest logit
};

bool Before(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
}

bool IsAllowed(AllowedTokens allowed, size_t token) {
  return allowed.empty() || (allowed[token / 64] >> (token % 64) & 1) != 0;
}

// Every allowed token whose weight is not zero, best first, at most top_k.
std::vector<Candidate> Candidates(std::span<const int32_t> logits, const SamplingConfig& config,
                                  const FunctionTables& tables, AllowedTokens allowed) {
  const int64_t largest = logits[static_cast<size_t>(Greedy(logits, allowed))];
  std::vector<Candidate> candidates;
  for (size_t token = 0; token < logits.size(); ++token) {
    if (!IsAllowed(allowed, token)) {
      continue;
    }
    const auto gap = static_cast<uint64_t>(largest - logits[token]);  // < 2^32; times < 2^24
    const uint64_t distance = (gap * config.inverse_temperature) >> kPoint;
    const auto weight = static_cast<uint32_t>(Exp2Negative(static_cast<int64_t>(distance), tables));
    if (weight > 0) {
      candidates.push_back({static_cast<int32_t>(token), logits[token], weight});
    }
  }
  if (config.top_k > 0 && config.top_k < static_cast<int64_t>(candidates.size())) {
    std::nth_element(candidates.begin(), candidates.begin() + config.top_k - 1, candidates.end(),
                     Before);
    candidates.resize(static_cast<size_t>(config.top_k));
  }
  std::sort(candidates.begin(), candidates.end(), Before);
  return candidates;
}

uint64_t TotalWeight(const std::vector<Candidate>& candidates) {
  return std::accumulate(
      candidates.begin(), candidates.end(), uint64_t{0},
      [](uint64_t sum, const Candidate& candidate) { return sum + candidate.weight; });
}

// Keeps the shortest prefix that holds top_p of the weight, then what reaches min_p of the best.
void Truncate(const SamplingConfig& config, std::vector<Candidate>& candidates) {
  const uint64_t wanted = TotalWeight(candidates) * config.top_p;  // < 2^44 · 2^16
  uint64_t sum = 0;
  size_t kept = 0;
  while (kept < candidates.size() && (kept == 0 || (sum << 16) < wanted)) {
    const uint64_t weight = candidates[kept].weight;
    if (kept > 0 && (weight << 16) < uint64_t{candidates.front().weight} * config.min_p) {
      break;
    }
    sum += weight;
    ++kept;
  }
  candidates.resize(kept);
}

}  // namespace

std::array<uint32_t, 4> Philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  constexpr uint64_t kMultiplier0 = 0xD2511F53U;
  constexpr uint64_t kMultiplier1 = 0xCD9E8D57U;
  constexpr uint32_t kWeyl0 = 0x9E3779B9U;
  constexpr uint32_t kWeyl1 = 0xBB67AE85U;
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = kMultiplier0 * counter[0];
    const uint64_t product1 = kMultiplier1 * counter[2];
    counter = {static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key[0],
               static_cast<uint32_t>(product1),
               static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key[1],
               static_cast<uint32_t>(product0)};
    key[0] += kWeyl0;
    key[1] += kWeyl1;
  }
  return counter;
}

Status Validate(const SamplingParams& params) {
  if (params.temperature != 0.0 && !(params.temperature >= 0.01 && params.temperature <= 100.0)) {
    return Fail(ErrorCode::kInvalidArgument, "temperature {} is not 0 or in 0.01 to 100",
                params.temperature);
  }
  if (params.top_k < 0) {
    return Fail(ErrorCode::kInvalidArgument, "top_k {} is negative", params.top_k);
  }
  if (!(params.top_p > 0.0 && params.top_p <= 1.0)) {
    return Fail(ErrorCode::kInvalidArgument, "top_p {} is not above 0 and at most 1", params.top_p);
  }
  if (!(params.min_p >= 0.0 && params.min_p < 1.0)) {
    return Fail(ErrorCode::kInvalidArgument, "min_p {} is not in 0 to below 1", params.min_p);
  }
  return {};
}

SamplingConfig ToConfig(const SamplingParams& params) {
  SamplingConfig config;
  config.greedy = params.temperature == 0.0 || params.top_k == 1;
  config.seed = params.seed;
  if (!config.greedy) {
    config.inverse_temperature = static_cast<uint64_t>(
        std::llround(std::ldexp(std::numbers::log2e / params.temperature, kPoint)));
    config.top_k = params.top_k;
    config.top_p = static_cast<uint32_t>(std::max(1.0, std::round(params.top_p * 0x1p16)));
    config.min_p = static_cast<uint32_t>(std::round(params.min_p * 0x1p16));
  }
  return config;
}

int32_t Greedy(std::span<const int32_t> logits, AllowedTokens allowed) {
  if (allowed.empty()) {
    return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  }
  size_t best = logits.size();
  for (size_t token = 0; token < logits.size(); ++token) {
    if (IsAllowed(allowed, token) && (best == logits.size() || logits[token] > logits[best])) {
      best = token;
    }
  }
  ETCH_CHECK(best < logits.size(), "no token is allowed");
  return static_cast<int32_t>(best);
}

int32_t Sample(std::span<const int32_t> logits, const SamplingConfig& config, uint64_t step,
               uint32_t stream, const FunctionTables& tables, AllowedTokens allowed) {
  if (config.greedy) {
    return Greedy(logits, allowed);
  }
  std::vector<Candidate> candidates = Candidates(logits, config, tables, allowed);
  Truncate(config, candidates);
  const std::array<uint32_t, 4> random =
      Philox({static_cast<uint32_t>(step), static_cast<uint32_t>(step >> 32), stream, 0},
             {static_cast<uint32_t>(config.seed), static_cast<uint32_t>(config.seed >> 32)});
  const uint64_t draw = (uint64_t{random[1]} << 32) | random[0];
  uint64_t target = MultiplyHigh(draw, TotalWeight(candidates));  // uniform in [0, total)
  for (const Candidate& candidate : candidates) {
    if (target < candidate.weight) {
      return candidate.token;
    }
    target -= candidate.weight;
  }
  return candidates.back().token;
}

}  // namespace etch::numerics
