#pragma once

// The linear layers that share one input (wq wk wv; gate up; wo; down; the head), with the adapters
// of every column: one parallel loop over the tiles of all of them.

#include <atomic>
#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "engine/cpu/adapter_plan.h"
#include "engine/cpu/kernels.h"
#include "model/tensors.h"

namespace etch::engine {

// out[column * weights.rows + row] = y of the base and the adapters.
struct Projection {
  model::Role role;
  numerics::WeightView weights;
  int32_t* out = nullptr;
};

class LinearPhase {
 public:
  LinearPhase(const KernelSet& kernels, ThreadPool& pool)
      : kernels_(kernels),
        pool_(pool),
        ends_(static_cast<size_t>(pool.threads())),
        shares_(ends_.size()) {}

  // `plan` may be empty. `inputs` holds a column for each column of the pass.
  void Run(std::span<const Projection> projections, int64_t layer, const InputPanel& inputs,
           AdapterPlan& plan);

 private:
  // A piece of the loop: of the tiles of all projections, or of an adapter.
  struct Item {
    enum Kind : uint8_t { kNothing, kReduce, kBase, kAdd, kAddStacked };
    Kind kind = kNothing;
    int64_t share = 0;
    int64_t group = 0;  // of the plan
    int64_t tile_begin = 0;
    int64_t tile_end = 0;
  };
  // Tiles of a thread's share that the base has not been multiplied with yet. On a line of its own.
  struct alignas(64) Share {
    std::atomic<int64_t> left = 0;
  };
  enum class Progress : uint8_t { kNone, kBegun, kDone };

  void PlanItems(std::span<const Projection> projections, int64_t layer, const AdapterPlan& plan);
  void Align(int64_t length);
  int64_t RunItem(std::span<const Item> items, std::span<const Projection> projections,
                  int64_t layer, const InputPanel& inputs, AdapterPlan& plan);
  void MultiplyTiles(std::span<const Projection> projections, const InputPanel& inputs,
                     int64_t begin, int64_t end);
  void Reduce(std::span<const Projection> projections, int64_t layer, const InputPanel& inputs,
              AdapterPlan& plan, int64_t index, bool wait);
  void ReduceGroup(std::span<const Projection> projections, int64_t layer, const InputPanel& inputs,
                   AdapterGroup& group);
  void AddPlain(std::span<const Projection> projections, int64_t layer, const AdapterGroup& group,
                int64_t begin, int64_t end);
  void AddStacked(std::span<const Projection> projections, int64_t layer, const AdapterPlan& plan,
                  int64_t tile);

  const KernelSet& kernels_;
  ThreadPool& pool_;
  // Of the present call.
  int64_t tiles_ = 0;            // of all projections
  std::vector<int64_t> groups_;  // of the plan, those that adapt any of them
  int64_t uses_ = 0;             // of these groups
  std::vector<Item> items_;
  std::vector<int64_t> ends_;                  // of each share's
  std::vector<Share> shares_;                  // one a thread
  std::deque<std::atomic<Progress>> reduced_;  // A · x, a group of the plan each
};

// Runs body(begin, end) over [0, count): in parallel when `work_bytes`, what all of it reads, is
// worth waking others for, else here.
template <class Body>
void ForWorth(ThreadPool& pool, int64_t count, int64_t grain, int64_t work_bytes,
              const Body& body) {
  // Some microseconds of one core; starting and ending a loop costs one or two.
  constexpr int64_t kWorthwhileBytes = 96 << 10;
  if (work_bytes < kWorthwhileBytes) {
    if (count > 0) {
      body(0, count);
    }
    return;
  }
  pool.ParallelFor(count, grain, body);
}

}  // namespace etch::engine
