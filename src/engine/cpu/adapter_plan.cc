#include "engine/cpu/adapter_plan.h"

#include <algorithm>

namespace etch::engine {

AdapterGroup& AdapterPlan::GroupOf(const AdapterWeights* weights, bool is_stacked) {
  for (int64_t index = 0; index < used_; ++index) {
    if (group(index).weights == weights && group(index).is_stacked == is_stacked) {
      return group(index);
    }
  }
  if (used_ == static_cast<int64_t>(groups_.size())) {
    groups_.emplace_back();
  }
  AdapterGroup& fresh = group(used_++);
  fresh.weights = weights;
  fresh.is_stacked = is_stacked;
  fresh.uses.clear();
  return fresh;
}

void AdapterPlan::AddUses(std::span<const Column> columns, bool stacked) {
  for (size_t column = 0; column < columns.size(); ++column) {
    const std::span<const ActiveAdapter> adapters = columns[column].adapters;
    if ((adapters.size() > 1) != stacked) {
      continue;
    }
    for (const ActiveAdapter& active : adapters) {
      GroupOf(active.weights.get(), stacked)
          .uses.push_back({static_cast<int64_t>(column), active.weight_q16});
    }
    if (stacked) {
      stacked_columns_.push_back(static_cast<int64_t>(column));
    }
  }
}

void AdapterPlan::Reset(std::span<const Column> columns) {
  used_ = 0;
  stacked_columns_.clear();
  AddUses(columns, false);
  plain_groups_ = used_;
  // What takes longest is begun first.
  std::sort(
      groups_.begin(), groups_.begin() + used_,
      [](const AdapterGroup& a, const AdapterGroup& b) { return a.uses.size() > b.uses.size(); });
  AddUses(columns, true);
}

}  // namespace etch::engine
