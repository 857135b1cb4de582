#pragma once

// The linear layers that share one input (wq wk wv; gate up; wo; down; the head), with the adapters
// of every column: a parallel loop over the tiles of all of them, and one over the adapters.

#include <cstdint>
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
  LinearPhase(const KernelSet& kernels, ThreadPool& pool) : kernels_(kernels), pool_(pool) {}

  // `plan` may be empty. `inputs` holds a column for each column of the pass.
  void Run(std::span<const Projection> projections, int64_t layer, const InputPanel& inputs,
           AdapterPlan& plan);

 private:
  // Tiles of all projections, for the columns of one adapter.
  struct Item {
    int64_t group = 0;
    int64_t tile_begin = 0;
    int64_t tile_end = 0;
  };

  void MultiplyTiles(std::span<const Projection> projections, const InputPanel& inputs,
                     int64_t begin, int64_t end);
  void Reduce(std::span<const Projection> projections, int64_t layer, const InputPanel& inputs,
              AdapterGroup& group);
  void AddDeltas(std::span<const Projection> projections, int64_t layer, AdapterPlan& plan);
  void AddPlain(std::span<const Projection> projections, int64_t layer, const AdapterGroup& group,
                int64_t begin, int64_t end);
  void AddStacked(std::span<const Projection> projections, int64_t layer, const AdapterPlan& plan,
                  int64_t tile);

  const KernelSet& kernels_;
  ThreadPool& pool_;
  int64_t tiles_ = 0;        // of all projections of the present call
  std::vector<Item> items_;  // of its second loop
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
