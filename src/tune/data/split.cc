#include "tune/data/split.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "tune/data/normalize.h"
#include "tune/data/order.h"

namespace etch::tune {
namespace {

constexpr int64_t kMinRows = 32;
constexpr int64_t kMinHeldOut = 16;
constexpr int64_t kMaxHeldOut = 128;
constexpr double kDefaultFraction = 0.05;

int64_t RowsToHoldOut(int64_t rows, const SplitOptions& options) {
  const auto part = [rows](double fraction) {
    return static_cast<int64_t>(std::llround(static_cast<double>(rows) * fraction));
  };
  if (options.validation) {
    const int64_t wanted = *options.validation > 0 ? 1 : 0;
    return std::min(std::max(part(*options.validation), wanted), rows - 1);
  }
  return rows < kMinRows ? 0 : std::clamp(part(kDefaultFraction), kMinHeldOut, kMaxHeldOut);
}

// Rows by prompt, in the order in which the prompts appear.
std::vector<std::vector<int64_t>> PromptGroups(const Dataset& dataset) {
  std::vector<std::vector<int64_t>> groups;
  std::unordered_map<std::string, size_t> group_of;
  for (size_t row = 0; row < dataset.examples.size(); ++row) {
    const auto [found, is_new] =
        group_of.try_emplace(NormalizedPrompt(dataset.examples[row]), groups.size());
    if (is_new) {
      groups.emplace_back();
    }
    groups[found->second].push_back(static_cast<int64_t>(row));
  }
  return groups;
}

}  // namespace

Result<Split> SplitRows(const Dataset& dataset, const SplitOptions& options) {
  if (options.validation && !(*options.validation >= 0 && *options.validation < 1)) {
    return Fail(ErrorCode::kInvalidArgument,
                "a validation part of {} of the rows; 0 (none) to below 1 is possible",
                *options.validation);
  }
  const auto rows = static_cast<int64_t>(dataset.examples.size());
  int64_t left = RowsToHoldOut(rows, options);
  const std::vector<std::vector<int64_t>> groups = PromptGroups(dataset);
  std::vector<bool> is_held_out(dataset.examples.size(), false);
  for (const int64_t index : EpochOrder(options.seed, 0, std::ssize(groups))) {
    const std::vector<int64_t>& group = groups[static_cast<size_t>(index)];
    if (std::ssize(group) > left) {
      continue;
    }
    left -= std::ssize(group);
    for (const int64_t row : group) {
      is_held_out[static_cast<size_t>(row)] = true;
    }
  }
  Split split;
  for (int64_t row = 0; row < rows; ++row) {
    (is_held_out[static_cast<size_t>(row)] ? split.validation : split.train).push_back(row);
  }
  return split;
}

}  // namespace etch::tune
