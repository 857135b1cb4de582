#pragma once

// Which columns of a pass run which adapters, grouped by adapter, so that an adapter's matrices are
// read once for all of its columns. Planned once a pass; every layer uses the same plan.

#include <array>
#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "engine/backend.h"
#include "engine/cpu/input_panel.h"
#include "engine/cpu/kernels.h"

namespace etch::engine {

// The most linear layers that share one input: wq, wk, wv.
inline constexpr size_t kMaxProjections = 3;

// One adapter of a pass, with the columns that run it alone or those that run others too.
struct AdapterGroup {
  const AdapterWeights* weights = nullptr;
  bool is_stacked = false;
  std::vector<AdapterUse> uses;

  // A · x of each projection in A8, a column for each use.
  std::array<InputPanel, kMaxProjections> reduced;
};

class AdapterPlan {
 public:
  // Groups the adapters of the columns. Memory is kept from pass to pass.
  void Reset(std::span<const Column> columns);

  bool empty() const { return used_ == 0; }
  int64_t size() const { return used_; }
  AdapterGroup& group(int64_t index) { return groups_[static_cast<size_t>(index)]; }
  const AdapterGroup& group(int64_t index) const { return groups_[static_cast<size_t>(index)]; }
  // Groups of columns that run nothing else come first, those of most columns before others.
  int64_t plain_groups() const { return plain_groups_; }
  // Columns that run several adapters, whose deltas have to be added in 64 bits before they are
  // added to the base.
  std::span<const int64_t> stacked_columns() const { return stacked_columns_; }

 private:
  void AddUses(std::span<const Column> columns, bool stacked);
  AdapterGroup& GroupOf(const AdapterWeights* weights, bool is_stacked);

  std::deque<AdapterGroup> groups_;  // the first used_ are of this pass
  int64_t used_ = 0;
  int64_t plain_groups_ = 0;
  std::vector<int64_t> stacked_columns_;
};

}  // namespace etch::engine
