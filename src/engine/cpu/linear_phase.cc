// The adapters' part of y = base + Σ round(B · A8(A · x) · weight) needs x only for its first half,
// so A · x runs in the same loop as the base. B · u and the addition are a second, short loop over
// tiles of rows, in which each row's sum is saturated once; where a column runs several adapters
// their deltas are added in 64 bits first.

#include "engine/cpu/linear_phase.h"

#include <algorithm>

#include "numerics/linear.h"

namespace etch::engine {
namespace {

using numerics::ActivationFormat;
using numerics::kTileRows;
using numerics::WeightView;

// Tiles of a projection whose adapter deltas are added together.
constexpr int64_t kDeltaTiles = 8;
constexpr int64_t kDeltaRows = kDeltaTiles * kTileRows;

int64_t ReadBytes(const WeightView& view, int64_t columns) {
  return numerics::WeightBytes(view.format, view.rows, view.cols) * columns;
}

// A without its padding rows: what is computed of it.
WeightView ReducingView(const AdapterLinear& linear, int64_t cols) {
  WeightView view = linear.ViewA(cols);
  view.rows = linear.rank;
  return view;
}

// Rows of B from a tile on, without its padding columns: where they leave whole registers empty, a
// kernel need not read those. Kernels number rows from the first of the view.
WeightView ExpandingView(const AdapterLinear& linear, int64_t all_rows, int64_t tile_begin,
                         int64_t rows) {
  WeightView view = linear.ViewB(all_rows);
  view.data += tile_begin * numerics::TileBytes(view.format, view.cols);
  view.rows = rows;
  view.cols = linear.rank;
  return view;
}

// Asks for what a kernel is about to read of a view of W8: the next adapter's rows lie far from
// those that are being read.
void AskFor(const WeightView& view) {
  constexpr int64_t kLine = 64;
  const int64_t tile_bytes = numerics::TileBytes(view.format, view.cols);
  // One group: a line holds four columns of sixteen rows.
  const int64_t read = view.cols < numerics::kBlock
                           ? numerics::kTileHeaderBytes + (view.cols + 3) / 4 * kLine
                           : tile_bytes;
  for (int64_t tile = 0; tile < numerics::TileCount(view.rows); ++tile) {
    for (int64_t offset = 0; offset < read; offset += kLine) {
      __builtin_prefetch(view.data + tile * tile_bytes + offset, 0, 2);
    }
  }
}

}  // namespace

void LinearPhase::Run(std::span<const Projection> projections, int64_t layer,
                      const InputPanel& inputs, AdapterPlan& plan) {
  segments_.clear();
  for (const Projection& projection : projections) {
    segments_.push_back({projection.weights, &inputs, numerics::TileCount(projection.weights.rows),
                         projection.out, projection.weights.rows});
  }
  if (plan.empty()) {
    RunSegments();
    return;
  }
  GatherInputs(inputs, plan);
  AddReductions(projections, layer, plan);
  RunSegments();
  AddDeltas(projections, layer, plan);
}

void LinearPhase::RunSegments() {
  int64_t tiles = 0;
  int64_t bytes = 0;
  for (const Segment& segment : segments_) {
    tiles += segment.tiles;
    bytes += ReadBytes(segment.weights, segment.inputs->columns());
  }
  ForWorth(pool_, tiles, 2, bytes, [this](int64_t begin, int64_t end) {
    for (const Segment& segment : segments_) {
      if (begin < segment.tiles && end > 0) {
        kernels_.multiply(segment.weights, *segment.inputs, std::max<int64_t>(begin, 0),
                          std::min(end, segment.tiles), segment.out, segment.out_stride);
      }
      begin -= segment.tiles;
      end -= segment.tiles;
    }
  });
}

void LinearPhase::GatherInputs(const InputPanel& inputs, AdapterPlan& plan) {
  const auto gather = [&](int64_t begin, int64_t end) {
    for (int64_t index = begin; index < end; ++index) {
      AdapterGroup& group = plan.group(index);
      const auto count = static_cast<int64_t>(group.uses.size());
      bool all = count == inputs.columns();
      for (int64_t use = 0; use < count && all; ++use) {
        all = group.uses[static_cast<size_t>(use)].column == use;
      }
      if (all) {
        group.inputs = &inputs;
        continue;
      }
      group.own_inputs.Reset(inputs.format(), inputs.width(), count, inputs.point());
      for (int64_t use = 0; use < count; ++use) {
        group.own_inputs.CopyColumn(inputs, group.uses[static_cast<size_t>(use)].column, use);
      }
      group.inputs = &group.own_inputs;
    }
  };
  ForWorth(pool_, plan.size(), 1, inputs.columns() * inputs.width(), gather);
}

void LinearPhase::AddReductions(std::span<const Projection> projections, int64_t layer,
                                AdapterPlan& plan) {
  for (int64_t index = 0; index < plan.size(); ++index) {
    AdapterGroup& group = plan.group(index);
    const auto count = static_cast<int64_t>(group.uses.size());
    for (size_t which = 0; which < projections.size(); ++which) {
      const AdapterLinear& linear = group.weights->Linear(layer, projections[which].role);
      if (linear.rank == 0) {
        continue;
      }
      int32_t* reduced = group.reduced[which].As<int32_t>(count * linear.rank_padded);
      for (int64_t use = 0; use < count; ++use) {  // the rank's padding stays zero
        std::fill(reduced + use * linear.rank_padded + linear.rank,
                  reduced + (use + 1) * linear.rank_padded, 0);
      }
      const WeightView view = ReducingView(linear, projections[which].weights.cols);
      segments_.push_back(
          {view, group.inputs, numerics::TileCount(view.rows), reduced, linear.rank_padded});
    }
  }
}

void LinearPhase::AddDeltas(std::span<const Projection> projections, int64_t layer,
                            AdapterPlan& plan) {
  const auto roles = static_cast<int64_t>(projections.size());
  // A · x in A8.
  int64_t uses = 0;
  for (int64_t index = 0; index < plan.size(); ++index) {
    uses += std::ssize(plan.group(index).uses);
  }
  ForWorth(pool_, plan.size() * roles, 1, uses * roles * 1024, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      AdapterGroup& group = plan.group(item / roles);
      const auto which = static_cast<size_t>(item % roles);
      const AdapterLinear& linear = group.weights->Linear(layer, projections[which].role);
      if (linear.rank == 0) {
        continue;
      }
      const auto count = static_cast<int64_t>(group.uses.size());
      const int32_t* reduced = group.reduced[which].As<int32_t>(count * linear.rank_padded);
      InputPanel& panel = group.reduced_panels[which];
      panel.Reset(ActivationFormat::kA8, linear.rank_padded, count);
      for (int64_t use = 0; use < count; ++use) {
        kernels_.quantize(reduced + use * linear.rank_padded, use, panel);
      }
    }
  });

  // B · u, added to the base.
  const auto add = [&](const Projection& projection, size_t which, int64_t tile_begin,
                       int64_t tile_end) {
    thread_local AlignedBuffer sum_memory;
    thread_local AlignedBuffer delta_memory;
    const WeightView& base = projection.weights;
    const int64_t first = tile_begin * kTileRows;
    const int64_t rows = std::min(tile_end * kTileRows, base.rows) - first;
    const int64_t total = base.rows;
    // Sums of the columns that run several adapters, (columns of the pass, kDeltaRows).
    const std::span<const int64_t> stacked = plan.stacked_columns();
    int64_t* sums = sum_memory.As<int64_t>(stacked.empty() ? 0 : (stacked.back() + 1) * kDeltaRows);
    for (const int64_t column : stacked) {
      std::copy_n(projection.out + column * total + first, rows, sums + column * kDeltaRows);
    }
    for (int64_t index = 0; index < plan.size(); ++index) {
      const AdapterGroup& group = plan.group(index);
      const AdapterLinear& linear = group.weights->Linear(layer, projection.role);
      if (linear.rank == 0) {
        continue;
      }
      const auto count = static_cast<int64_t>(group.uses.size());
      int32_t* delta = delta_memory.As<int32_t>(count * kDeltaRows);
      const WeightView rows_of_b = ExpandingView(linear, total, tile_begin, rows);
      if (index + 1 < plan.size()) {
        const AdapterLinear& next = plan.group(index + 1).weights->Linear(layer, projection.role);
        if (next.rank > 0) {
          AskFor(ExpandingView(next, total, tile_begin, rows));
        }
      }
      kernels_.multiply(rows_of_b, group.reduced_panels[which], 0, tile_end - tile_begin, delta,
                        kDeltaRows);
      for (int64_t use = 0; use < count; ++use) {
        const AdapterUse& at = group.uses[static_cast<size_t>(use)];
        const int32_t* of_use = delta + use * kDeltaRows;
        if (!at.is_stacked) {
          kernels_.add_weighted(of_use, at.weight_q16, rows,
                                projection.out + at.column * total + first);
          continue;
        }
        int64_t* sum = sums + at.column * kDeltaRows;
        for (int64_t row = 0; row < rows; ++row) {
          sum[row] += numerics::WeighDelta(of_use[row], at.weight_q16);
        }
      }
    }
    for (const int64_t column : stacked) {
      std::transform(sums + column * kDeltaRows, sums + column * kDeltaRows + rows,
                     projection.out + column * total + first, numerics::Saturate32);
    }
  };

  std::array<int64_t, kMaxProjections> parts{};
  int64_t all_parts = 0;
  int64_t all_rows = 0;
  for (size_t which = 0; which < projections.size(); ++which) {
    parts[which] =
        (numerics::TileCount(projections[which].weights.rows) + kDeltaTiles - 1) / kDeltaTiles;
    all_parts += parts[which];
    all_rows += projections[which].weights.rows;
  }
  ForWorth(pool_, all_parts, 1, all_rows * plan.size() * 40, [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part) {
      size_t which = 0;
      int64_t local = part;
      while (local >= parts[which]) {
        local -= parts[which++];
      }
      const int64_t tiles = numerics::TileCount(projections[which].weights.rows);
      add(projections[which], which, local * kDeltaTiles,
          std::min((local + 1) * kDeltaTiles, tiles));
    }
  });
}

}  // namespace etch::engine
