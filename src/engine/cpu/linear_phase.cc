// The adapters' part of y = base + Σ round(B · A8(A · x) · weight) needs x only for its first half,
// so A · x and its A8 are made in the same loop as the base. B · u and the addition are a second
// loop.

#include "engine/cpu/linear_phase.h"

#include <algorithm>

#include "numerics/linear.h"

namespace etch::engine {
namespace {

using numerics::ActivationFormat;
using numerics::kTileRows;
using numerics::WeightView;

int64_t ReadBytes(const WeightView& view, int64_t columns) {
  return numerics::WeightBytes(view.format, view.rows, view.cols) * columns;
}

}  // namespace

void LinearPhase::Run(std::span<const Projection> projections, int64_t layer,
                      const InputPanel& inputs, AdapterPlan& plan) {
  tiles_ = 0;
  int64_t bytes = 0;
  for (const Projection& projection : projections) {
    tiles_ += numerics::TileCount(projection.weights.rows);
    bytes += ReadBytes(projection.weights, inputs.columns());
  }
  // An item is an adapter or two tiles, which kernels take together. Adapters stand evenly between
  // the tiles, so that each thread has its share of both.
  const int64_t items = (tiles_ + 1) / 2 + plan.size();
  const auto adapters_before = [&](int64_t item) {
    return (item * plan.size() + items - 1) / items;
  };
  ForWorth(pool_, items, 1, bytes, [&](int64_t begin, int64_t end) {
    const int64_t first = adapters_before(begin);
    const int64_t last = adapters_before(end);
    for (int64_t index = first; index < last; ++index) {
      Reduce(projections, layer, inputs, plan.group(index));
    }
    MultiplyTiles(projections, inputs, 2 * (begin - first), std::min(2 * (end - last), tiles_));
  });
  if (!plan.empty()) {
    AddDeltas(projections, layer, plan);
  }
}

void LinearPhase::MultiplyTiles(std::span<const Projection> projections, const InputPanel& inputs,
                                int64_t begin, int64_t end) {
  for (const Projection& projection : projections) {
    const int64_t tiles = numerics::TileCount(projection.weights.rows);
    if (begin < tiles && end > 0) {
      kernels_.multiply(projection.weights, inputs, std::max<int64_t>(begin, 0),
                        std::min(end, tiles), projection.out, projection.weights.rows);
    }
    begin -= tiles;
    end -= tiles;
  }
}

// u = A8(A · x) of every projection, for the columns of one adapter.
void LinearPhase::Reduce(std::span<const Projection> projections, int64_t layer,
                         const InputPanel& inputs, AdapterGroup& group) {
  thread_local InputPanel gathered;
  thread_local AlignedBuffer memory;
  const auto count = static_cast<int64_t>(group.uses.size());
  const InputPanel* own = &inputs;
  bool all = count == inputs.columns();  // and in their order
  for (int64_t use = 0; all && use < count; ++use) {
    all = group.uses[static_cast<size_t>(use)].column == use;
  }
  if (!all) {
    gathered.Reset(inputs.format(), inputs.width(), count, inputs.point());
    for (int64_t use = 0; use < count; ++use) {
      gathered.CopyColumn(inputs, group.uses[static_cast<size_t>(use)].column, use);
    }
    own = &gathered;
  }
  for (size_t which = 0; which < projections.size(); ++which) {
    const AdapterLinear& linear = group.weights->Linear(layer, projections[which].role);
    if (linear.rank == 0) {
      continue;
    }
    const WeightView view = linear.ViewA(inputs.width());
    auto* reduced = memory.As<int32_t>(count * linear.rank);
    kernels_.multiply(view, *own, 0, numerics::TileCount(view.rows), reduced, linear.rank);
    InputPanel& panel = group.reduced[which];
    panel.Reset(ActivationFormat::kA8, linear.rank, count);
    for (int64_t use = 0; use < count; ++use) {
      kernels_.quantize(reduced + use * linear.rank, use, panel);
    }
  }
}

// y += B · u. Threads take the tiles that they made in the base's loop, whose y lies in their own
// caches: a thread's share of the rows for one adapter after the other. An item is one adapter's
// rows of a share, or some of those where it has many columns.
void LinearPhase::AddDeltas(std::span<const Projection> projections, int64_t layer,
                            AdapterPlan& plan) {
  int64_t rows = 0;
  for (const Projection& projection : projections) {
    rows += projection.weights.rows;
  }
  const int64_t plain = plan.plain_groups();
  int64_t uses = 0;
  for (int64_t index = 0; index < plain; ++index) {
    uses += std::ssize(plan.group(index).uses);
  }
  constexpr int64_t kItemsPerShare = 4;
  const int64_t shares = std::min<int64_t>(pool_.threads(), tiles_);
  items_.clear();
  for (int64_t share = 0; share < shares; ++share) {
    const int64_t first = tiles_ * share / shares;
    const int64_t count = tiles_ * (share + 1) / shares - first;
    for (int64_t index = 0; index < plain; ++index) {
      const int64_t wanted = kItemsPerShare * std::ssize(plan.group(index).uses);
      const int64_t parts = std::min(count, (wanted + uses - 1) / uses);
      for (int64_t part = 0; part < parts; ++part) {
        items_.push_back({index, first + count * part / parts, first + count * (part + 1) / parts});
      }
    }
  }
  const auto items = std::ssize(items_);
  const int64_t stacked = plan.stacked_columns().empty() ? 0 : tiles_;
  ForWorth(pool_, items + stacked, 1, rows * plan.size() * 40, [&](int64_t begin, int64_t end) {
    for (int64_t index = begin; index < std::min(end, items); ++index) {
      const Item& item = items_[static_cast<size_t>(index)];
      AddPlain(projections, layer, plan.group(item.group), item.tile_begin, item.tile_end);
    }
    for (int64_t tile = std::max(begin, items); tile < end; ++tile) {
      AddStacked(projections, layer, plan, tile - items);
    }
  });
}

void LinearPhase::AddPlain(std::span<const Projection> projections, int64_t layer,
                           const AdapterGroup& group, int64_t begin, int64_t end) {
  for (size_t which = 0; which < projections.size(); ++which) {
    const Projection& projection = projections[which];
    const AdapterLinear& linear = group.weights->Linear(layer, projection.role);
    const int64_t tiles = numerics::TileCount(projection.weights.rows);
    if (linear.rank > 0 && begin < tiles && end > 0) {
      kernels_.multiply_add(linear.ViewB(projection.weights.rows), group.reduced[which],
                            std::max<int64_t>(begin, 0), std::min(end, tiles),
                            {projection.out, projection.weights.rows, group.uses});
    }
    begin -= tiles;
    end -= tiles;
  }
}

// One tile of the columns that run several adapters: their deltas are added in 64 bits first.
void LinearPhase::AddStacked(std::span<const Projection> projections, int64_t layer,
                             const AdapterPlan& plan, int64_t tile) {
  thread_local AlignedBuffer sum_memory;
  thread_local AlignedBuffer delta_memory;
  size_t which = 0;
  for (;; ++which) {
    const int64_t tiles = numerics::TileCount(projections[which].weights.rows);
    if (tile < tiles) {
      break;
    }
    tile -= tiles;
  }
  const Projection& projection = projections[which];
  const int64_t all_rows = projection.weights.rows;
  const int64_t first = tile * kTileRows;
  const int64_t rows = std::min(kTileRows, all_rows - first);
  const std::span<const int64_t> stacked = plan.stacked_columns();
  int64_t* sums = sum_memory.As<int64_t>((stacked.back() + 1) * kTileRows);
  for (const int64_t column : stacked) {
    std::copy_n(projection.out + column * all_rows + first, rows, sums + column * kTileRows);
  }
  for (int64_t index = plan.plain_groups(); index < plan.size(); ++index) {
    const AdapterGroup& group = plan.group(index);
    const AdapterLinear& linear = group.weights->Linear(layer, projection.role);
    if (linear.rank == 0) {
      continue;
    }
    WeightView view = linear.ViewB(all_rows);
    view.data += tile * numerics::TileBytes(view.format, view.cols);
    view.rows = rows;
    auto* deltas = delta_memory.As<int32_t>(std::ssize(group.uses) * kTileRows);
    kernels_.multiply(view, group.reduced[which], 0, 1, deltas, kTileRows);
    for (const AdapterUse& use : group.uses) {
      int64_t* sum = sums + use.column * kTileRows;
      for (int64_t row = 0; row < rows; ++row) {
        sum[row] += numerics::WeighDelta(deltas[row], use.weight_q16);
      }
      deltas += kTileRows;
    }
  }
  for (const int64_t column : stacked) {
    std::transform(sums + column * kTileRows, sums + column * kTileRows + rows,
                   projection.out + column * all_rows + first, numerics::Saturate32);
  }
}

}  // namespace etch::engine
