#pragma once

// Which columns of a pass run which adapters, grouped by adapter, so that an adapter's matrices are
// read once for all of its columns. Planned once a pass; every layer uses the same plan.

#include <array>
#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "base/aligned_buffer.h"
#include "engine/backend.h"
#include "engine/cpu/input_panel.h"

namespace etch::engine {

// The most linear layers that share one input: wq, wk, wv.
inline constexpr size_t kMaxProjections = 3;

struct AdapterUse {
  int64_t column = 0;
  int32_t weight_q16 = 0;
  bool is_stacked = false;  // the column runs other adapters too
};

// One adapter of a pass.
struct AdapterGroup {
  const AdapterWeights* weights = nullptr;
  std::vector<AdapterUse> uses;

  // The quantised inputs of its columns, in the order of `uses`: the pass's own panel when every
  // column runs this adapter once, else a copy of theirs.
  const InputPanel* inputs = nullptr;
  InputPanel own_inputs;
  // A · x of each projection: I32 values (uses, rank_padded), and the same in A8.
  std::array<AlignedBuffer, kMaxProjections> reduced;
  std::array<InputPanel, kMaxProjections> reduced_panels;
};

class AdapterPlan {
 public:
  // Groups the adapters of the columns. Memory is kept from pass to pass.
  void Reset(std::span<const Column> columns);

  bool empty() const { return used_ == 0; }
  int64_t size() const { return used_; }
  AdapterGroup& group(int64_t index) { return groups_[static_cast<size_t>(index)]; }
  // Columns that run several adapters, whose deltas have to be added in 64 bits before they are
  // added to the base.
  std::span<const int64_t> stacked_columns() const { return stacked_columns_; }

 private:
  AdapterGroup& GroupOf(const AdapterWeights* weights);

  std::deque<AdapterGroup> groups_;  // the first used_ are of this pass
  int64_t used_ = 0;
  std::vector<int64_t> stacked_columns_;
};

}  // namespace etch::engine
