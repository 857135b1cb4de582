// How long steps take: the formulas at the heads of the fabric's modules.

#include <algorithm>
#include <bit>

#include "plan/hardware_plan.h"

namespace etch::plan {
namespace {

constexpr int64_t kGroup = 32;

constexpr int64_t Ceiling(int64_t value, int64_t by) { return (value + by - 1) / by; }

// Rows in tiles, each row on as many lanes as share it; a column takes `column_steps`, `after` is
// behind the last result's look-up. Results leave `width` a cycle.
int64_t MatrixCycles(const Choices& choices, int64_t lanes, const Step& step, int64_t column_steps,
                     int64_t after) {
  const int64_t segments = Segments(step.n, step.groups, lanes, choices.splits);
  const int64_t steps = kGroup * Ceiling(step.groups, segments) * column_steps;
  const int64_t tile_rows = lanes / segments;
  const int64_t tiles = Ceiling(step.n, tile_rows);
  const int64_t last = step.n - (tiles - 1) * tile_rows;
  const int64_t tree = std::bit_width(static_cast<uint64_t>(segments)) - 1;
  return steps + (tiles - 1) * std::max(steps, Ceiling(tile_rows, choices.vector_width) + 6) +
         Ceiling(last, choices.vector_width) + tree + after;
}

int64_t QuantiseCycles(const Step& step, int64_t width) {
  const int64_t codes = step.per_head ? step.n : Ceiling(step.n, kGroup) * kGroup;
  return Ceiling(step.n, width) + Ceiling(codes, width) + 13;
}

// Heads side by side as far as the blocks a cycle reach, then keys.
int64_t AttentionCycles(const model::Config& config, const Choices& choices, int64_t position) {
  const int64_t blocks = Ceiling(config.head_dim, kGroup);
  const int64_t heads = std::min(config.n_heads, choices.attention_width);
  const int64_t keys = choices.attention_width / heads;
  return Ceiling(config.n_heads, heads) * (2 * blocks * Ceiling(position + 1, keys) +
                                           Ceiling(config.head_dim, choices.vector_width) + 50) +
         1;
}

}  // namespace

int64_t ColumnSteps(const Step& step) { return (step.w6 ? 2 : 1) * (step.a16 ? 2 : 1); }

int64_t StepCycles(const HardwarePlan& plan, const Step& step, int64_t position) {
  const Fabric& fabric = plan.fabric;
  const Choices& choices = fabric.choices;
  const int64_t width = choices.vector_width;
  const int64_t planes = step.w6 ? 2 : 1;
  switch (step.operation) {
    case Operation::kEnd:
      return 0;
    case Operation::kEmbed:
      return Ceiling(kGroup * step.groups * planes, width) + 6;
    case Operation::kAngles:
      return Ceiling(fabric.config.head_dim, width) + 4;
    case Operation::kNorm:
      return 3 * Ceiling(step.n, width) + 15;
    case Operation::kQuantise:
      return QuantiseCycles(step, width);
    case Operation::kBase:
      return MatrixCycles(choices, choices.lanes, step, ColumnSteps(step), 8);
    case Operation::kAdapter:
      return MatrixCycles(choices, choices.adapter_lanes, step, 1, 10);
    case Operation::kRope:
      return Ceiling(step.n * fabric.config.head_dim, width) + 4;
    case Operation::kAttend:
      return AttentionCycles(fabric.config, choices, position);
    case Operation::kResidual:
      return Ceiling(step.n, width) + 2;
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
