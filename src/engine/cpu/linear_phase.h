#pragma once

// The linear layers that share one input (wq wk wv; gate up; wo; down; the head), with the adapters
// of every column: one parallel loop over the tiles of all of them.

#include <cstdint>
#include <span>
#include <vector>

#include "base/aligned_buffer.h"
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
  // A matrix among those that a loop runs over.
  struct Segment {
    numerics::WeightView weights;
    const InputPanel* inputs;
    int64_t tiles;
    int32_t* out;
    int64_t out_stride;
  };

  void GatherInputs(const InputPanel& inputs, AdapterPlan& plan);
  void AddReductions(std::span<const Projection> projections, int64_t layer, AdapterPlan& plan);
  void RunSegments();
  void AddDeltas(std::span<const Projection> projections, int64_t layer, AdapterPlan& plan);

  const KernelSet& kernels_;
  ThreadPool& pool_;
  std::vector<Segment> segments_;
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
