// The threaded integer engine. All columns of a call go through a layer together, so every weight
// is read once for the whole batch; the work of each step is split over the threads by tiles of
// rows, by columns or by heads. Whatever the split, the bits are those of reference/: the sums are
// integers.

#include <algorithm>
#include <map>

#include "base/thread_pool.h"
#include "engine/attend.h"
#include "engine/backend.h"
#include "engine/cpu/kernels.h"
#include "engine/kv_cache.h"
#include "numerics/linear.h"
#include "numerics/norm.h"
#include "numerics/rope.h"
#include "numerics/swiglu.h"

namespace etch::engine {
namespace {

using model::InputSite;
using model::Role;
using numerics::Activation;
using Matrix = std::vector<int32_t>;  // (columns, width), row by row

std::span<int32_t> Row(Matrix& matrix, int64_t row, int64_t width) {
  return std::span(matrix).subspan(static_cast<size_t>(row * width), static_cast<size_t>(width));
}
std::span<const int32_t> Row(const Matrix& matrix, int64_t row, int64_t width) {
  return std::span(matrix).subspan(static_cast<size_t>(row * width), static_cast<size_t>(width));
}

class CpuBackend : public Backend {
 public:
  CpuBackend(const image::Image& image, int threads, const KernelSet& kernels)
      : image_(image), config_(image.config()), kernels_(kernels), pool_(threads) {}

  Result<std::unique_ptr<SessionState>> NewState(int64_t context) const override {
    return KvCache::Create(config_, context);
  }
  int64_t kv_bytes_per_token() const override { return KvCache::BytesPerToken(config_); }
  std::string isa() const override { return std::string(kernels_.isa); }
  int threads() const override { return pool_.threads(); }
  void Forward(std::span<const Column> columns) override;

 private:
  void Embed(std::span<const Column> columns);
  void AttentionBlock(std::span<const Column> columns, int64_t layer);
  void Attention(std::span<const Column> columns, int64_t layer);
  void FeedForwardBlock(std::span<const Column> columns, int64_t layer);
  void Head(std::span<const Column> columns);

  // inputs_[column] = quantised norm of the residual.
  void NormAndQuantize(int64_t columns, Role role, InputSite site, int64_t layer);
  void Multiply(const numerics::WeightView& weights, std::span<const Activation* const> inputs,
                int32_t* out);
  // out (columns, rows) = base and adapters of a block linear over inputs_.
  void Linear(std::span<const Column> columns, Role role, int64_t layer, Matrix& out);
  void AddAdapters(std::span<const Column> columns, Role role, int64_t layer, Matrix& out);
  void AddResidual(const Matrix& delta);

  const image::Image& image_;
  const model::Config& config_;
  const KernelSet& kernels_;
  ThreadPool pool_;

  // Scratch of one Forward, kept from call to call.
  Matrix residual_, queries_, keys_, values_, attended_, gate_, up_, delta_;
  std::vector<Activation> inputs_;
  std::vector<const Activation*> input_pointers_;
  std::vector<numerics::Rotation> rotations_;  // (columns, head_dim / 2)
};

void CpuBackend::Forward(std::span<const Column> columns) {
  if (inputs_.size() < columns.size()) {
    inputs_.resize(columns.size());
  }
  input_pointers_.clear();
  for (size_t column = 0; column < columns.size(); ++column) {
    input_pointers_.push_back(&inputs_[column]);
  }
  Embed(columns);
  for (int64_t layer = 0; layer < config_.n_layers; ++layer) {
    AttentionBlock(columns, layer);
    FeedForwardBlock(columns, layer);
  }
  Head(columns);
}

void CpuBackend::Embed(std::span<const Column> columns) {
  const auto count = static_cast<int64_t>(columns.size());
  const int64_t pairs = config_.head_dim / 2;
  const numerics::WeightView embedding = image_.Weights(Role::kTokenEmbedding, 0);
  residual_.resize(columns.size() * static_cast<size_t>(config_.dim));
  rotations_.resize(columns.size() * static_cast<size_t>(pairs));
  pool_.ParallelFor(count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t column = begin; column < end; ++column) {
      const Column& at = columns[static_cast<size_t>(column)];
      numerics::EmbedRow(embedding, at.token, Row(residual_, column, config_.dim));
      numerics::RotationsAt(
          image_.rope_high(), image_.rope_low(), pairs, at.position,
          std::span(rotations_)
              .subspan(static_cast<size_t>(column * pairs), static_cast<size_t>(pairs)));
    }
  });
}

void CpuBackend::AttentionBlock(std::span<const Column> columns, int64_t layer) {
  NormAndQuantize(std::ssize(columns), Role::kAttentionNorm, InputSite::kAttention, layer);
  Linear(columns, Role::kWq, layer, queries_);
  Linear(columns, Role::kWk, layer, keys_);
  Linear(columns, Role::kWv, layer, values_);
  Attention(columns, layer);
  const numerics::ActivationFormat format = image_.InputFormat(InputSite::kOutput, layer);
  pool_.ParallelFor(std::ssize(columns), 1, [&](int64_t begin, int64_t end) {
    for (int64_t column = begin; column < end; ++column) {
      numerics::QuantizeActivation(Row(std::as_const(attended_), column, config_.q_dim()), format,
                                   inputs_[static_cast<size_t>(column)]);
    }
  });
  Linear(columns, Role::kWo, layer, delta_);
  AddResidual(delta_);
}

// Rotates, stores keys and values of every column, then attends: a column sees the columns before
// it.
void CpuBackend::Attention(std::span<const Column> columns, int64_t layer) {
  const int64_t head_dim = config_.head_dim;
  const int64_t pairs = head_dim / 2;
  std::vector<QueryCodes> queries(columns.size());
  pool_.ParallelFor(std::ssize(columns), 1, [&](int64_t begin, int64_t end) {
    for (int64_t column = begin; column < end; ++column) {
      const auto rotations =
          std::span<const numerics::Rotation>(rotations_)
              .subspan(static_cast<size_t>(column * pairs), static_cast<size_t>(pairs));
      for (int64_t head = 0; head < config_.n_heads; ++head) {
        numerics::RotateHead(rotations, Row(queries_, column * config_.n_heads + head, head_dim));
      }
      for (int64_t head = 0; head < config_.n_kv_heads; ++head) {
        numerics::RotateHead(rotations, Row(keys_, column * config_.n_kv_heads + head, head_dim));
      }
      const Column& at = columns[static_cast<size_t>(column)];
      static_cast<KvCache&>(*at.state).Store(layer, at.position,
                                             Row(std::as_const(keys_), column, config_.kv_dim()),
                                             Row(std::as_const(values_), column, config_.kv_dim()));
      queries[static_cast<size_t>(column)].Quantize(
          config_, Row(std::as_const(queries_), column, config_.q_dim()));
    }
  });
  attended_.resize(columns.size() * static_cast<size_t>(config_.q_dim()));
  const int64_t heads_per_kv = config_.n_heads / config_.n_kv_heads;
  pool_.ParallelFor(
      std::ssize(columns) * config_.n_heads, heads_per_kv, [&](int64_t begin, int64_t end) {
        AttendScratch scratch;
        for (int64_t item = begin; item < end; ++item) {
          const int64_t column = item / config_.n_heads;
          const int64_t head = item % config_.n_heads;
          const Column& at = columns[static_cast<size_t>(column)];
          Attend(image_, static_cast<const KvCache&>(*at.state),
                 queries[static_cast<size_t>(column)].Head(config_, head), layer,
                 head / heads_per_kv, at.position + 1, scratch, Row(attended_, item, head_dim));
        }
      });
}

void CpuBackend::FeedForwardBlock(std::span<const Column> columns, int64_t layer) {
  NormAndQuantize(std::ssize(columns), Role::kFfnNorm, InputSite::kFfn, layer);
  Linear(columns, Role::kGate, layer, gate_);
  Linear(columns, Role::kUp, layer, up_);
  const auto width = static_cast<size_t>(config_.ffn_dim);
  const numerics::ActivationFormat format = image_.InputFormat(InputSite::kDown, layer);
  pool_.ParallelFor(std::ssize(columns), 1, [&](int64_t begin, int64_t end) {
    std::vector<int64_t> products(width);
    for (auto column = static_cast<size_t>(begin); column < static_cast<size_t>(end); ++column) {
      for (size_t channel = 0; channel < width; ++channel) {
        products[channel] = numerics::SwiGlu(gate_[column * width + channel],
                                             up_[column * width + channel], image_.tables());
      }
      numerics::QuantizeActivation(products, 2 * numerics::kPoint, format, inputs_[column]);
    }
  });
  Linear(columns, Role::kDown, layer, delta_);
  AddResidual(delta_);
}

void CpuBackend::Head(std::span<const Column> columns) {
  std::vector<size_t> wanted;
  for (size_t column = 0; column < columns.size(); ++column) {
    if (!columns[column].logits.empty()) {
      wanted.push_back(column);
    }
  }
  if (wanted.empty()) {
    return;
  }
  for (size_t index = 0; index < wanted.size(); ++index) {  // wanted[index] ≥ index: moves left
    std::copy_n(Row(residual_, static_cast<int64_t>(wanted[index]), config_.dim).begin(),
                config_.dim, Row(residual_, static_cast<int64_t>(index), config_.dim).begin());
  }
  NormAndQuantize(std::ssize(wanted), Role::kFinalNorm, InputSite::kHead, 0);
  const int64_t vocabulary = config_.vocab_size;
  Matrix logits(wanted.size() * static_cast<size_t>(vocabulary));
  Multiply(image_.Weights(Role::kHead, 0), std::span(input_pointers_).first(wanted.size()),
           logits.data());
  for (size_t index = 0; index < wanted.size(); ++index) {
    const auto row = Row(std::as_const(logits), static_cast<int64_t>(index), vocabulary);
    std::copy(row.begin(), row.end(), columns[wanted[index]].logits.begin());
  }
}

void CpuBackend::NormAndQuantize(int64_t columns, Role role, InputSite site, int64_t layer) {
  const numerics::ActivationFormat format = image_.InputFormat(site, layer);
  pool_.ParallelFor(columns, 1, [&](int64_t begin, int64_t end) {
    Matrix normed(static_cast<size_t>(config_.dim));
    for (int64_t column = begin; column < end; ++column) {
      numerics::RmsNorm(Row(std::as_const(residual_), column, config_.dim),
                        image_.Gains(role, layer), image_.norm_epsilon(), image_.tables(), normed);
      numerics::QuantizeActivation(normed, format, inputs_[static_cast<size_t>(column)]);
    }
  });
}

void CpuBackend::Multiply(const numerics::WeightView& weights,
                          std::span<const Activation* const> inputs, int32_t* out) {
  pool_.ParallelFor(numerics::TileCount(weights.rows), 1, [&](int64_t begin, int64_t end) {
    kernels_.multiply_tiles(weights, inputs, begin, end, out);
  });
}

void CpuBackend::Linear(std::span<const Column> columns, Role role, int64_t layer, Matrix& out) {
  const numerics::WeightView weights = image_.Weights(role, layer);
  out.resize(columns.size() * static_cast<size_t>(weights.rows));
  Multiply(weights, input_pointers_, out.data());
  if (std::any_of(columns.begin(), columns.end(),
                  [](const Column& column) { return !column.adapters.empty(); })) {
    AddAdapters(columns, role, layer, out);
  }
}

// Products of the adapters, grouped by adapter so that each one's weights are read once for all of
// its columns; added in 64 bits and saturated once, as the contract says.
void CpuBackend::AddAdapters(std::span<const Column> columns, Role role, int64_t layer,
                             Matrix& out) {
  struct Use {
    size_t column = 0;
    int32_t weight_q16 = 0;
  };
  const auto [rows, cols] = model::TensorShape(config_, role);
  std::map<const AdapterLinear*, std::vector<Use>> uses;
  for (size_t column = 0; column < columns.size(); ++column) {
    for (const ActiveAdapter& active : columns[column].adapters) {
      const AdapterLinear& adapter = active.weights->Linear(layer, role);
      if (adapter.rank > 0) {
        uses[&adapter].push_back({column, active.weight_q16});
      }
    }
  }
  std::vector<int64_t> sums(out.begin(), out.end());
  for (const auto& [adapter, users] : uses) {
    std::vector<const Activation*> inputs;
    for (const Use& use : users) {
      inputs.push_back(&inputs_[use.column]);
    }
    Matrix reduced(users.size() * static_cast<size_t>(adapter->rank_padded));
    Multiply(adapter->ViewA(cols), inputs, reduced.data());
    std::vector<Activation> quantized(users.size());
    for (size_t user = 0; user < users.size(); ++user) {
      numerics::QuantizeActivation(
          Row(std::as_const(reduced), static_cast<int64_t>(user), adapter->rank_padded),
          numerics::ActivationFormat::kA8, quantized[user]);
      inputs[user] = &quantized[user];
    }
    Matrix delta(users.size() * static_cast<size_t>(rows));
    Multiply(adapter->ViewB(rows), inputs, delta.data());
    const auto width = static_cast<size_t>(rows);
    for (size_t user = 0; user < users.size(); ++user) {
      int64_t* sum = sums.data() + users[user].column * width;
      for (size_t row = 0; row < width; ++row) {
        sum[row] += numerics::WeighDelta(delta[user * width + row], users[user].weight_q16);
      }
    }
  }
  std::transform(sums.begin(), sums.end(), out.begin(), numerics::Saturate32);
}

void CpuBackend::AddResidual(const Matrix& delta) {
  for (size_t index = 0; index < residual_.size(); ++index) {
    residual_[index] = numerics::Saturate32(int64_t{residual_[index]} + delta[index]);
  }
}

}  // namespace

Result<std::unique_ptr<Backend>> MakeCpuBackend(const image::Image& image, int threads,
                                                std::string_view isa) {
  ETCH_ASSIGN_OR_RETURN(const KernelSet* kernels, SelectKernels(isa));
  return std::make_unique<CpuBackend>(image, threads, *kernels);
}

}  // namespace etch::engine
