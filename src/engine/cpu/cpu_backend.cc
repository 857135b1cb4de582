// The threaded integer engine. All columns of a call go through a layer together, so every weight
// is read once for the whole batch; the work of each phase is split over the threads by tiles of
// rows, by columns or by heads. Whatever the split, the bits are those of reference/: the sums are
// integers.
//
// A layer is eight phases, each of which needs all of the one before: norm, q k v, rotation and
// storing, attention, output, norm, gate up (with SwiGLU), down. A phase that reads little is done
// by the calling thread alone, so small models do not pay for company.

#include <algorithm>

#include "base/aligned_buffer.h"
#include "base/thread_pool.h"
#include "engine/backend.h"
#include "engine/cpu/adapter_plan.h"
#include "engine/cpu/kernels.h"
#include "engine/cpu/kv_tiles.h"
#include "engine/cpu/linear_phase.h"
#include "numerics/attention.h"
#include "numerics/linear.h"
#include "numerics/rope.h"

namespace etch::engine {
namespace {

using model::InputSite;
using model::Role;

// Rows of I32 or R32 values, one a column, kept from pass to pass.
class Matrix {
 public:
  void Reset(int64_t columns, int64_t width) {
    width_ = width;
    values_ = memory_.As<int32_t>(columns * width);
  }
  int32_t* data() { return values_; }
  int32_t* Row(int64_t column) { return values_ + column * width_; }
  std::span<int32_t> Span(int64_t column) { return {Row(column), static_cast<size_t>(width_)}; }

 private:
  AlignedBuffer memory_;
  int32_t* values_ = nullptr;
  int64_t width_ = 0;
};

class CpuBackend : public Backend {
 public:
  CpuBackend(const image::Image& image, int threads, const KernelSet& kernels)
      : image_(image),
        config_(image.config()),
        kernels_(kernels),
        pool_(threads),
        linear_(kernels, pool_) {}

  Result<std::unique_ptr<SessionState>> NewState(int64_t context) const override {
    return KvTiles::Create(config_, context);
  }
  int64_t kv_bytes_per_token() const override { return KvTiles::BytesPerToken(config_); }
  bool copies_states() const override { return true; }
  bool gives_hidden() const override { return true; }
  std::string isa() const override { return std::string(kernels_.isa); }
  int threads() const override { return pool_.threads(); }
  // Eight a layer, SwiGLU counted with gate and up; the embedding, the last norm and the head.
  int64_t phases_per_token() const override { return 8 * config_.n_layers + 3; }
  Status Forward(std::span<const Column> columns, const Interrupted& interrupted) override;

 private:
  void Embed(std::span<const Column> columns);
  void AttentionBlock(std::span<const Column> columns, int64_t layer);
  void StoreAndRotate(std::span<const Column> columns, int64_t layer);
  void Attend(std::span<const Column> columns, int64_t layer);
  void FeedForwardBlock(int64_t layer);
  void Head(std::span<const Column> columns);

  // panel_ = the quantised norm of the residual, to which delta_ is added first when asked.
  void NormAndQuantize(Role norm, InputSite site, int64_t layer, bool add_delta);
  Projection Project(Role role, int64_t layer, Matrix& out);
  int64_t HeadsPerTask() const;

  const image::Image& image_;
  const model::Config& config_;
  const KernelSet& kernels_;
  ThreadPool pool_;
  LinearPhase linear_;

  // Scratch of one Forward, kept from call to call.
  int64_t count_ = 0;  // columns
  Matrix residual_, normed_, queries_, keys_, values_, attended_, gate_, up_, delta_, logits_;
  AlignedBuffer products_;                     // int64 (columns, ffn_dim)
  std::vector<int16_t> query_codes_;           // (columns, n_heads, head_dim)
  std::vector<uint8_t> query_shifts_;          // (columns, n_heads, blocks)
  std::vector<numerics::Rotation> rotations_;  // (columns, head_dim / 2)
  InputPanel panel_;
  AdapterPlan adapters_;
  AdapterPlan no_adapters_;
  std::vector<int64_t> wanted_;
};

Status CpuBackend::Forward(std::span<const Column> columns, const Interrupted& interrupted) {
  count_ = std::ssize(columns);
  adapters_.Reset(columns);
  Embed(columns);
  for (int64_t layer = 0; layer < config_.n_layers; ++layer) {
    if (interrupted && interrupted()) {
      return Fail(ErrorCode::kCancelled, "interrupted");
    }
    AttentionBlock(columns, layer);
    FeedForwardBlock(layer);
  }
  Head(columns);
  return {};
}

void CpuBackend::Embed(std::span<const Column> columns) {
  const int64_t pairs = config_.head_dim / 2;
  const numerics::WeightView embedding = image_.Weights(Role::kTokenEmbedding, 0);
  residual_.Reset(count_, config_.dim);
  rotations_.resize(columns.size() * static_cast<size_t>(pairs));
  ForWorth(pool_, count_, 1, count_ * config_.dim * 16, [&](int64_t begin, int64_t end) {
    for (int64_t column = begin; column < end; ++column) {
      const Column& at = columns[static_cast<size_t>(column)];
      numerics::EmbedRow(embedding, at.token, residual_.Span(column));
      numerics::RotationsAt(
          image_.rope_high(), image_.rope_low(), pairs, at.position,
          std::span(rotations_)
              .subspan(static_cast<size_t>(column * pairs), static_cast<size_t>(pairs)));
    }
  });
}

void CpuBackend::NormAndQuantize(Role norm, InputSite site, int64_t layer, bool add_delta) {
  const int64_t dim = config_.dim;
  panel_.Reset(image_.InputFormat(site, layer), dim, count_);
  normed_.Reset(count_, dim);
  const std::span<const numerics::Gain16> gains = image_.Gains(norm, layer);
  ForWorth(pool_, count_, 1, (count_ - 1) * dim * 16, [&](int64_t begin, int64_t end) {
    for (int64_t column = begin; column < end; ++column) {
      int32_t* x = residual_.Row(column);
      if (add_delta) {
        kernels_.add(x, delta_.Row(column), dim, x);
      }
      kernels_.norm(residual_.Span(column), gains, image_.norm_epsilon(), image_.tables(),
                    normed_.Row(column));
      kernels_.quantize(normed_.Row(column), column, panel_);
    }
  });
}

Projection CpuBackend::Project(Role role, int64_t layer, Matrix& out) {
  const numerics::WeightView weights = image_.Weights(role, layer);
  out.Reset(count_, weights.rows);
  return {role, weights, out.data()};
}

void CpuBackend::AttentionBlock(std::span<const Column> columns, int64_t layer) {
  NormAndQuantize(Role::kAttentionNorm, InputSite::kAttention, layer, layer > 0);
  linear_.Run(std::array{Project(Role::kWq, layer, queries_), Project(Role::kWk, layer, keys_),
                         Project(Role::kWv, layer, values_)},
              layer, panel_, adapters_);
  StoreAndRotate(columns, layer);
  Attend(columns, layer);
  panel_.Reset(image_.InputFormat(InputSite::kOutput, layer), config_.q_dim(), count_);
  ForWorth(pool_, count_, 1, (count_ - 1) * config_.q_dim() * 8, [&](int64_t begin, int64_t end) {
    for (int64_t column = begin; column < end; ++column) {
      kernels_.quantize(attended_.Row(column), column, panel_);
    }
  });
  linear_.Run(std::array{Project(Role::kWo, layer, delta_)}, layer, panel_, adapters_);
}

// Rotates queries and keys, quantises the queries and stores keys and values, for every column and
// key/value head. All of it comes before any attention: a column sees the columns before it.
void CpuBackend::StoreAndRotate(std::span<const Column> columns, int64_t layer) {
  const int64_t head_dim = config_.head_dim;
  const int64_t pairs = head_dim / 2;
  const int64_t kv_heads = config_.n_kv_heads;
  const int64_t heads_per_kv = config_.n_heads / kv_heads;
  const int64_t blocks = numerics::HeadBlocks(head_dim);
  query_codes_.resize(static_cast<size_t>(count_ * config_.q_dim()));
  query_shifts_.resize(static_cast<size_t>(count_ * config_.n_heads * blocks));
  const auto store = [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t column = item / kv_heads;
      const int64_t kv_head = item % kv_heads;
      const auto rotations =
          std::span<const numerics::Rotation>(rotations_)
              .subspan(static_cast<size_t>(column * pairs), static_cast<size_t>(pairs));
      const Column& at = columns[static_cast<size_t>(column)];
      int32_t* key = keys_.Row(column) + kv_head * head_dim;
      kernels_.rotate(rotations, key);
      static_cast<KvTiles&>(*at.state).Store(layer, kv_head, at.position, key,
                                             values_.Row(column) + kv_head * head_dim, kernels_);
      for (int64_t head = kv_head * heads_per_kv; head < (kv_head + 1) * heads_per_kv; ++head) {
        int32_t* query = queries_.Row(column) + head * head_dim;
        const int64_t row = column * config_.n_heads + head;
        kernels_.rotate(rotations, query);
        kernels_.quantize_head({query, static_cast<size_t>(head_dim)}, numerics::kMaxA14,
                               query_codes_.data() + row * head_dim,
                               query_shifts_.data() + row * blocks);
      }
    }
  };
  ForWorth(pool_, count_ * kv_heads, 1, count_ * (config_.q_dim() + config_.kv_dim()) * 24, store);
}

// How many query heads of a key/value head one task takes: all, so that keys are read once, unless
// that leaves threads without work.
int64_t CpuBackend::HeadsPerTask() const {
  const int64_t heads_per_kv = config_.n_heads / config_.n_kv_heads;
  int64_t heads = std::min(heads_per_kv, kMaxTaskHeads);
  while (heads > 1 && count_ * config_.n_heads / heads < 2 * pool_.threads()) {
    heads = (heads + 1) / 2;
  }
  return heads;
}

void CpuBackend::Attend(std::span<const Column> columns, int64_t layer) {
  const int64_t head_dim = config_.head_dim;
  const int64_t kv_heads = config_.n_kv_heads;
  const int64_t heads_per_kv = config_.n_heads / kv_heads;
  const int64_t blocks = numerics::HeadBlocks(head_dim);
  const int64_t heads_per_task = HeadsPerTask();
  const int64_t tasks_per_kv = (heads_per_kv + heads_per_task - 1) / heads_per_task;
  attended_.Reset(count_, config_.q_dim());
  const auto attend = [&](int64_t begin, int64_t end) {
    thread_local AlignedBuffer scratch;
    for (int64_t item = begin; item < end; ++item) {
      const int64_t column = item / (kv_heads * tasks_per_kv);
      const int64_t kv_head = item / tasks_per_kv % kv_heads;
      const int64_t first = item % tasks_per_kv * heads_per_task;
      const int64_t head = kv_head * heads_per_kv + first;
      const int64_t row = column * config_.n_heads + head;
      const Column& at = columns[static_cast<size_t>(column)];
      AttendTask task;
      static_cast<const KvTiles&>(*at.state).Locate(layer, kv_head, task);
      task.visible = at.position + 1;
      task.heads = std::min(heads_per_task, heads_per_kv - first);
      task.queries = query_codes_.data() + row * head_dim;
      task.query_shifts = query_shifts_.data() + row * blocks;
      task.score_scale = image_.score_scale();
      task.tables = &image_.tables();
      // For half as many keys again, so that a growing context asks for memory a few times only.
      if (const int64_t needed = AttendScratchBytes(task.visible, task.heads, task.value_channels);
          needed > scratch.size()) {
        scratch.Grow(needed + needed / 2);
      }
      task.scratch = scratch.data();
      task.out = attended_.Row(column) + head * head_dim;
      kernels_.attend(task);
    }
  };
  int64_t keys = 0;
  for (const Column& column : columns) {
    keys += column.position + 1;
  }
  ForWorth(pool_, count_ * kv_heads * tasks_per_kv, 1, keys * config_.q_dim() * 3, attend);
}

void CpuBackend::FeedForwardBlock(int64_t layer) {
  NormAndQuantize(Role::kFfnNorm, InputSite::kFfn, layer, true);
  linear_.Run(std::array{Project(Role::kGate, layer, gate_), Project(Role::kUp, layer, up_)}, layer,
              panel_, adapters_);
  const int64_t width = config_.ffn_dim;
  panel_.Reset(image_.InputFormat(InputSite::kDown, layer), width, count_, 2 * numerics::kPoint);
  int64_t* products = products_.As<int64_t>(count_ * width);
  // Element by element for one column, column by column for many.
  constexpr int64_t kPart = 1024;
  if (count_ == 1) {
    ForWorth(pool_, (width + kPart - 1) / kPart, 1, width * 16, [&](int64_t begin, int64_t end) {
      const int64_t from = begin * kPart;
      kernels_.swiglu(gate_.data() + from, up_.data() + from, std::min(end * kPart, width) - from,
                      image_.tables(), products + from);
    });
    kernels_.quantize_products(products, 0, panel_);
  } else {
    ForWorth(pool_, count_, 1, count_ * width * 16, [&](int64_t begin, int64_t end) {
      for (int64_t column = begin; column < end; ++column) {
        int64_t* out = products + column * width;
        kernels_.swiglu(gate_.Row(column), up_.Row(column), width, image_.tables(), out);
        kernels_.quantize_products(out, column, panel_);
      }
    });
  }
  linear_.Run(std::array{Project(Role::kDown, layer, delta_)}, layer, panel_, adapters_);
}

void CpuBackend::Head(std::span<const Column> columns) {
  wanted_.clear();
  for (int64_t column = 0; column < count_; ++column) {
    if (!columns[static_cast<size_t>(column)].logits.empty()) {
      wanted_.push_back(column);
    }
  }
  if (wanted_.empty()) {
    return;
  }
  const int64_t dim = config_.dim;
  for (int64_t index = 0; index < std::ssize(wanted_); ++index) {
    const int64_t column = wanted_[static_cast<size_t>(index)];  // ≥ index: rows move up
    kernels_.add(residual_.Row(column), delta_.Row(column), dim, residual_.Row(index));
  }
  count_ = std::ssize(wanted_);
  NormAndQuantize(Role::kFinalNorm, InputSite::kHead, 0, false);
  for (int64_t index = 0; index < count_; ++index) {
    const std::span<int32_t> hidden =
        columns[static_cast<size_t>(wanted_[static_cast<size_t>(index)])].hidden;
    std::copy_n(normed_.Row(index), hidden.size(), hidden.data());
  }
  const numerics::WeightView weights = image_.Weights(Role::kHead, 0);
  const auto logits_of = [&](int64_t index) {
    return columns[static_cast<size_t>(wanted_[static_cast<size_t>(index)])].logits;
  };
  // The head takes no adapter (docs/numeric-contract.md §13).
  no_adapters_.Reset({});
  if (count_ == 1) {
    linear_.Run(std::array{Projection{Role::kHead, weights, logits_of(0).data()}}, 0, panel_,
                no_adapters_);
    return;
  }
  linear_.Run(std::array{Project(Role::kHead, 0, logits_)}, 0, panel_, no_adapters_);
  ForWorth(pool_, count_, 1, count_ * weights.rows * 8, [&](int64_t begin, int64_t end) {
    for (int64_t index = begin; index < end; ++index) {
      std::copy_n(logits_.Row(index), weights.rows, logits_of(index).data());
    }
  });
}

}  // namespace

Result<std::unique_ptr<Backend>> MakeCpuBackend(const image::Image& image, int threads,
                                                std::string_view isa) {
  ETCH_ASSIGN_OR_RETURN(const KernelSet* kernels, SelectKernels(isa));
  return std::make_unique<CpuBackend>(image, threads, *kernels);
}

}  // namespace etch::engine
