#include "engine/cpu/adapter_plan.h"

namespace etch::engine {

AdapterGroup& AdapterPlan::GroupOf(const AdapterWeights* weights) {
  for (int64_t index = 0; index < used_; ++index) {
    if (group(index).weights == weights) {
      return group(index);
    }
  }
  if (used_ == static_cast<int64_t>(groups_.size())) {
    groups_.emplace_back();
  }
  AdapterGroup& fresh = group(used_++);
  fresh.weights = weights;
  fresh.uses.clear();
  return fresh;
}

void AdapterPlan::Reset(std::span<const Column> columns) {
  used_ = 0;
  stacked_columns_.clear();
  for (size_t column = 0; column < columns.size(); ++column) {
    const std::span<const ActiveAdapter> adapters = columns[column].adapters;
    const bool is_stacked = adapters.size() > 1;
    for (const ActiveAdapter& active : adapters) {
      GroupOf(active.weights.get())
          .uses.push_back({static_cast<int64_t>(column), active.weight_q16, is_stacked});
    }
    if (is_stacked) {
      stacked_columns_.push_back(static_cast<int64_t>(column));
    }
  }
}

}  // namespace etch::engine
