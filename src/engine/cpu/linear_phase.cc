// The adapters' part of y = base + Σ round(B · A8(A · x) · weight) has two steps: A · x and its A8,
// which need the inputs alone, and B · u with the addition, which needs A8 and the rows of the
// base. All of it is one parallel loop, for a second one would cost a small model as much as the
// adapter. Each thread's share of the items is
//
//   A · x of some adapters | two tiles of the base at a time | B · u of all adapters on those tiles
//
// so that B is added to rows that lie in the thread's own caches, one adapter after the other. What
// an item waits for has then nearly always been done: A · x that nobody has begun it does itself,
// and what others have begun ends soon, because A · x and the base wait for nothing. So no thread
// waits for one that has not come back from sleep.

#include "engine/cpu/linear_phase.h"

#include <algorithm>

#include "numerics/linear.h"

namespace etch::engine {
namespace {

using numerics::ActivationFormat;
using numerics::kTileRows;
using numerics::WeightView;

// What an adapter's column is worth in ForWorth: more than all that is not.
constexpr int64_t kReadBytesOfAUse = 16 << 10;

int64_t ReadBytes(const WeightView& view, int64_t columns) {
  return numerics::WeightBytes(view.format, view.rows, view.cols) * columns;
}

// For what another thread has begun and will end in microseconds: by watching, and where its core
// was taken away asleep, until it tells.
template <class T>
void WaitFor(const std::atomic<T>& value, T wanted) {
  constexpr int kLooks = 2000;
  for (int look = 0; look < kLooks; ++look) {
    if (value.load(std::memory_order_acquire) == wanted) {
      return;
    }
    Pause();
  }
  for (T now = value.load(std::memory_order_acquire); now != wanted;
       now = value.load(std::memory_order_acquire)) {
    value.wait(now, std::memory_order_acquire);
  }
}

bool Adapts(const AdapterGroup& group, std::span<const Projection> projections, int64_t layer) {
  return std::ranges::any_of(projections, [&](const Projection& projection) {
    return group.weights->Linear(layer, projection.role).rank > 0;
  });
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
  PlanItems(projections, layer, plan);
  bytes += kReadBytesOfAUse * uses_;
  ForWorth(pool_, std::ssize(items_), 1, bytes, [&](int64_t begin, int64_t end) {
    for (int64_t index = begin; index < end;) {
      index += RunItem(
          std::span(items_).subspan(static_cast<size_t>(index), static_cast<size_t>(end - index)),
          projections, layer, inputs, plan);
    }
  });
}

void LinearPhase::PlanItems(std::span<const Projection> projections, int64_t layer,
                            const AdapterPlan& plan) {
  const int64_t pairs = (tiles_ + 1) / 2;
  const auto shares = std::ssize(shares_);
  while (std::ssize(reduced_) < plan.size()) {
    reduced_.emplace_back();
  }
  groups_.clear();
  uses_ = 0;
  bool stacked = false;
  for (int64_t index = 0; index < plan.size(); ++index) {
    if (Adapts(plan.group(index), projections, layer)) {
      groups_.push_back(index);
      uses_ += std::ssize(plan.group(index).uses);
      stacked |= index >= plan.plain_groups();
    }
    reduced_[static_cast<size_t>(index)].store(Progress::kNone, std::memory_order_relaxed);
  }
  items_.clear();
  int64_t length = 0;
  for (int64_t share = 0; share < shares; ++share) {
    const int64_t first = 2 * (pairs * share / shares);
    const int64_t last = std::min(2 * (pairs * (share + 1) / shares), tiles_);
    const int64_t tiles = last - first;
    const int64_t begin = std::ssize(items_);
    shares_[static_cast<size_t>(share)].left.store(tiles, std::memory_order_relaxed);
    for (int64_t at = share; at < std::ssize(groups_); at += shares) {
      items_.push_back({Item::kReduce, share, groups_[static_cast<size_t>(at)], 0, 0});
    }
    for (int64_t tile = first; tile < last; tile += 2) {
      items_.push_back({Item::kBase, share, 0, tile, std::min(tile + 2, last)});
    }
    // Several items of an adapter of many columns: none is then long.
    constexpr int64_t kItemsPerShare = 4;
    for (const int64_t index : groups_) {
      if (index < plan.plain_groups()) {
        const int64_t wanted = kItemsPerShare * std::ssize(plan.group(index).uses);
        const int64_t parts = std::min(tiles, (wanted + uses_ - 1) / uses_);
        for (int64_t part = 0; part < parts; ++part) {
          items_.push_back({Item::kAdd, share, index, first + tiles * part / parts,
                            first + tiles * (part + 1) / parts});
        }
      }
    }
    for (int64_t tile = first; stacked && tile < last; ++tile) {
      items_.push_back({Item::kAddStacked, share, 0, tile, tile + 1});
    }
    ends_[static_cast<size_t>(share)] = std::ssize(items_);
    length = std::max(length, std::ssize(items_) - begin);
  }
  if (!groups_.empty()) {
    Align(pool_.PartLength(length));
  }
}

// Puts empty items behind those of each share, so that a share is what a thread has as its own: the
// first it runs is then nothing that waits.
void LinearPhase::Align(int64_t length) {
  items_.resize(shares_.size() * static_cast<size_t>(length));
  for (int64_t share = std::ssize(shares_) - 1; share >= 0; --share) {
    const int64_t begin = share > 0 ? ends_[static_cast<size_t>(share - 1)] : 0;
    const int64_t count = ends_[static_cast<size_t>(share)] - begin;
    const auto from = items_.begin() + begin;
    const auto to = items_.begin() + share * length;
    if (to != from) {
      std::copy_backward(from, from + count, to + count);
    }
    std::fill(to + count, to + length, Item{});
  }
}

// Runs the first of `items`, and tiles of the base that follow it in the same call of the kernel.
// How many these were.
int64_t LinearPhase::RunItem(std::span<const Item> items, std::span<const Projection> projections,
                             int64_t layer, const InputPanel& inputs, AdapterPlan& plan) {
  const Item& item = items.front();
  std::atomic<int64_t>& left = shares_[static_cast<size_t>(item.share)].left;
  switch (item.kind) {
    case Item::kNothing:
      return 1;
    case Item::kReduce:
      Reduce(projections, layer, inputs, plan, item.group, false);
      return 1;
    case Item::kBase: {
      size_t count = 1;
      while (count < items.size() && items[count].kind == Item::kBase &&
             items[count].share == item.share) {
        ++count;
      }
      const int64_t end = items[count - 1].tile_end;
      MultiplyTiles(projections, inputs, item.tile_begin, end);
      const int64_t tiles = end - item.tile_begin;
      if (left.fetch_sub(tiles, std::memory_order_acq_rel) == tiles) {
        left.notify_all();
      }
      return static_cast<int64_t>(count);
    }
    case Item::kAdd:
      Reduce(projections, layer, inputs, plan, item.group, true);
      WaitFor<int64_t>(left, 0);
      AddPlain(projections, layer, plan.group(item.group), item.tile_begin, item.tile_end);
      return 1;
    case Item::kAddStacked:
      for (int64_t group = plan.plain_groups(); group < plan.size(); ++group) {
        Reduce(projections, layer, inputs, plan, group, true);
      }
      WaitFor<int64_t>(left, 0);
      AddStacked(projections, layer, plan, item.tile_begin);
      return 1;
  }
  return 1;
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

// u = A8(A · x) of every projection, for the columns of one adapter, unless another thread is at it
// or has done it; `wait` until it is done.
void LinearPhase::Reduce(std::span<const Projection> projections, int64_t layer,
                         const InputPanel& inputs, AdapterPlan& plan, int64_t index, bool wait) {
  std::atomic<Progress>& progress = reduced_[static_cast<size_t>(index)];
  Progress none = Progress::kNone;
  if (progress.load(std::memory_order_acquire) == Progress::kNone &&
      progress.compare_exchange_strong(none, Progress::kBegun, std::memory_order_acquire)) {
    ReduceGroup(projections, layer, inputs, plan.group(index));
    progress.store(Progress::kDone, std::memory_order_release);
    progress.notify_all();
  } else if (wait) {
    WaitFor(progress, Progress::kDone);
  }
}

void LinearPhase::ReduceGroup(std::span<const Projection> projections, int64_t layer,
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

// y += B · u.
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
