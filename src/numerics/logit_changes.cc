#include "numerics/logit_changes.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace etch::numerics {
namespace {

void Add(std::vector<int32_t>& logits, int32_t token, int64_t amount) {
  if (token >= 0 && static_cast<size_t>(token) < logits.size()) {
    int32_t& logit = logits[static_cast<size_t>(token)];
    logit = static_cast<int32_t>(std::clamp<int64_t>(int64_t{logit} + amount,
                                                     std::numeric_limits<int32_t>::min(),
                                                     std::numeric_limits<int32_t>::max()));
  }
}

}  // namespace

int32_t ToLogit(double value) {
  return static_cast<int32_t>(std::llround(std::clamp(value, -1000.0, 1000.0) * 0x1p16));
}

std::span<const int32_t> ChangedLogits::Apply(std::span<const int32_t> logits) {
  if (changes_.empty()) {
    return logits;
  }
  changed_.assign(logits.begin(), logits.end());
  // One sum a token, saturated once: the order of the changes does not matter.
  std::unordered_map<int32_t, int64_t> sums;
  for (const auto& [token, amount] : changes_.bias) {
    sums[token] += amount;
  }
  for (const auto& [token, count] : drawn_) {
    sums[token] -= changes_.presence + count * changes_.frequency;
  }
  for (const auto& [token, amount] : sums) {
    Add(changed_, token, amount);
  }
  return changed_;
}

void ChangedLogits::Drawn(int32_t token) {
  if (changes_.presence != 0 || changes_.frequency != 0) {
    ++drawn_[token];
  }
}

}  // namespace etch::numerics
