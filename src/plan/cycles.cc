// How long steps take: the formulas at the heads of the fabric's modules.

#include <algorithm>

#include "plan/hardware_plan.h"

namespace etch::plan {
namespace {

constexpr int64_t kGroup = 32;

// Tiles of `lanes` rows, each of `steps` steps; `after` behind the last result's look-up.
int64_t MatrixCycles(int64_t rows, int64_t lanes, int64_t steps, int64_t after) {
  const int64_t tiles = (rows + lanes - 1) / lanes;
  const int64_t last = rows - (tiles - 1) * lanes;
  return steps + (tiles - 1) * std::max(steps, lanes + 6) + last + after;
}

int64_t QuantiseCycles(const Step& step) {
  const int64_t codes = step.per_head ? step.n : (step.n + kGroup - 1) / kGroup * kGroup;
  return step.n + codes + 13;
}

int64_t AttentionCycles(const model::Config& config, int64_t position) {
  const int64_t blocks = (config.head_dim + kGroup - 1) / kGroup;
  return config.n_heads * (2 * blocks * (position + 1) + config.head_dim + 50) + 1;
}

}  // namespace

int64_t StepCycles(const HardwarePlan& plan, const Step& step, int64_t position) {
  const Fabric& fabric = plan.fabric;
  const int64_t planes = step.w6 ? 2 : 1;
  constexpr int64_t kAdapterLanes = 32;
  switch (step.operation) {
    case Operation::kEnd:
      return 0;
    case Operation::kEmbed:
      return kGroup * step.groups * planes + 6;
    case Operation::kAngles:
      return fabric.config.head_dim + 4;
    case Operation::kNorm:
      return 3 * step.n + 15;
    case Operation::kQuantise:
      return QuantiseCycles(step);
    case Operation::kBase:
      return MatrixCycles(step.n, fabric.choices.lanes, kGroup * step.groups * planes, 8);
    case Operation::kAdapter:
      return MatrixCycles(step.n, kAdapterLanes, kGroup * step.groups, 10);
    case Operation::kRope:
      return step.n * fabric.config.head_dim + 4;
    case Operation::kAttend:
      return AttentionCycles(fabric.config, position);
    case Operation::kResidual:
      return step.n + 2;
    case Operation::kSample:
      return 73;
  }
  return 0;
}

int64_t TokenCycles(const HardwarePlan& plan, int64_t position, bool with_adapter, bool wanted) {
  // The token is fetched, the program read to its end, and the token behind it handed out.
  constexpr int64_t kStep = 3;
  int64_t cycles = wanted ? 4 : 3;
  for (const Step& step : plan.steps) {
    const bool left_out = (step.adapter_only && !with_adapter) || (step.wanted_only && !wanted);
    cycles += kStep + (left_out ? 0 : StepCycles(plan, step, position));
  }
  return cycles;
}

}  // namespace etch::plan
