#pragma once

// Changes of logits before a token is chosen: a bias for named tokens, and penalties for tokens
// that the answer holds already. In integers like the sampler behind it, so one request gives one
// text on every backend. docs/numeric-contract.md §12.

#include <cstdint>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

namespace etch::numerics {

// All values R32 (16 fraction bits).
struct LogitChanges {
  std::vector<std::pair<int32_t, int32_t>> bias;  // token, what is added; tokens differ
  int32_t presence = 0;   // taken off once from a token that was drawn before
  int32_t frequency = 0;  // taken off as often as it was drawn

  bool empty() const { return bias.empty() && presence == 0 && frequency == 0; }
};

// The nearest R32 of `value`, which lies in -1000 to 1000.
int32_t ToLogit(double value);

// The changes of one sequence and the tokens drawn for it.
class ChangedLogits {
 public:
  explicit ChangedLogits(LogitChanges changes) : changes_(std::move(changes)) {}

  // `logits` with the changes, saturated; `logits` itself when there are none. Valid until the next
  // call. Biased tokens outside of the vocabulary are passed over.
  std::span<const int32_t> Apply(std::span<const int32_t> logits);
  void Drawn(int32_t token);

 private:
  LogitChanges changes_;
  std::unordered_map<int32_t, int64_t> drawn_;  // token → how often
  std::vector<int32_t> changed_;                // memory is kept
};

}  // namespace etch::numerics
