// One State holds the scratch of a pass, kept from call to call. A block's forward step leaves in
// BlockMemory what its backward step reads. Shapes: `tokens` rows, one a token, of the width that
// the name says.

#include "tune/network.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "tune/elementwise.h"
#include "tune/lora.h"
#include "tune/matrix.h"

namespace etch::tune {
namespace {

using model::Role;

// Logits that are in memory at a time.
constexpr int64_t kLogitValues = int64_t{24} << 20;

using Values = std::vector<float>;

bool IsGivenUp(const PassOptions& options) {
  return options.interrupted != nullptr && (*options.interrupted)();
}

void Resize(Values& values, int64_t size) { values.resize(static_cast<size_t>(size)); }

// What the backward step of a block reads.
struct BlockMemory {
  Values x;            // (tokens, dim) what enters the block
  Values normed;       // (tokens, dim) input of q, k, v
  Values inverse;      // (tokens) of its norm
  Values queries;      // (tokens, q_dim) rotated
  Values keys;         // (tokens, kv_dim) rotated
  Values values;       // (tokens, kv_dim)
  Values attended;     // (tokens, q_dim)
  Values middle;       // (tokens, dim) behind attention
  Values ffn_normed;   // (tokens, dim)
  Values ffn_inverse;  // (tokens)
  Values gate;         // (tokens, ffn_dim)
  Values up;           // (tokens, ffn_dim)
  Values product;      // (tokens, ffn_dim) silu(gate) · up
};

}  // namespace

int64_t Batch::target_count() const {
  return std::ranges::count_if(targets, [](TokenId target) { return target >= 0; });
}

struct Network::State {
  State(const TrainedModel& trained, ThreadPool& threads)
      : model(trained),
        config(trained.config()),
        pool(threads),
        products(threads),
        lora(trained, threads),
        frequencies(static_cast<size_t>(config.head_dim / 2)) {
    for (size_t pair = 0; pair < frequencies.size(); ++pair) {
      frequencies[pair] = model::RopeFrequency(config, static_cast<int64_t>(pair));
    }
  }

  const TrainedModel& model;
  const model::Config& config;
  ThreadPool& pool;
  BaseProducts products;
  LoraProducts lora;
  std::vector<double> frequencies;

  int64_t tokens = 0;
  Values angles;                    // (tokens, head_dim / 2, 2)
  std::vector<BlockMemory> blocks;  // by layer; the first alone when everything is recomputed
  std::vector<Values> entries;      // what enters each block, when everything is recomputed
  Values x;                         // the residual stream
  Values d_queries, d_keys, d_values, d_attended, d_normed, d_product;
  Values picked, d_picked, picked_inverse, normed_picked, logits;
  std::vector<int64_t> rows;  // positions that have a target

  template <class Body>
  void ForEachRow(int64_t count, const Body& body) {
    constexpr int64_t kGrain = 4;
    pool.ParallelFor(count, kGrain, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        body(row);
      }
    });
  }
  static std::span<float> Row(Values& values, int64_t row, int64_t width) {
    return std::span(values).subspan(static_cast<size_t>(row * width), static_cast<size_t>(width));
  }

  void Begin(const Batch& batch);
  void Norm(Role role, int64_t layer, Values& in, Values& out, Values& inverse);
  void Linear(Role role, int64_t layer, const PassOptions& options, const Values& in, Values& out);
  void BlockForward(const Batch& batch, int64_t layer, const PassOptions& options,
                    BlockMemory& memory);
  bool Forward(const Batch& batch, const PassOptions& options, bool keep);

  // From d_out of a linear layer: adds to the gradients of what is trained in it, and dx = ∂/∂in +
  // keep · dx.
  void LinearBackward(Role role, int64_t layer, const PassOptions& options, const Values& in,
                      const Values& d_out, float keep, Values& dx, std::span<float> gradients);
  void NormBackward(Role role, int64_t layer, Values& in, const Values& inverse, Values& dy,
                    Values& dx, std::span<float> gradients);
  void BlockBackward(const Batch& batch, int64_t layer, const PassOptions& options,
                     BlockMemory& memory, Values& dx, std::span<float> gradients);
  std::span<float> GradientOf(Role role, int64_t layer, std::span<float> gradients) const {
    const int64_t index = model.Trained(role, layer);
    return index < 0 ? std::span<float>() : model.parameters().Part(gradients, index);
  }

  // Loss of the final norm and head over the rows with targets. With `dx`: the gradient of what
  // enters them, and those of head and norm.
  double Head(const Batch& batch, Values* dx, std::span<float> gradients);
  void PickRows(const Batch& batch);
};

Network::Network(const TrainedModel& model, ThreadPool& pool)
    : state_(std::make_unique<State>(model, pool)) {}
Network::~Network() = default;

void Network::State::Begin(const Batch& batch) {
  tokens = batch.size();
  const int64_t pairs = config.head_dim / 2;
  Resize(angles, tokens * 2 * pairs);
  Resize(x, tokens * config.dim);
  const BaseMatrix embedding = model.Matrix(Role::kTokenEmbedding, 0);
  for (const Segment& segment : batch.segments) {
    ForEachRow(segment.end - segment.begin, [&](int64_t position) {
      const int64_t row = segment.begin + position;
      float* angle = angles.data() + row * 2 * pairs;
      for (int64_t pair = 0; pair < pairs; ++pair) {
        const double turn = static_cast<double>(position) * frequencies[static_cast<size_t>(pair)];
        angle[2 * pair] = static_cast<float>(std::cos(turn));
        angle[2 * pair + 1] = static_cast<float>(std::sin(turn));
      }
      const int64_t token = batch.tokens[static_cast<size_t>(row)];
      const std::span<float> out = Row(x, row, config.dim);
      if (embedding.values != nullptr) {
        std::copy_n(embedding.values + token * config.dim, config.dim, out.begin());
      } else {
        numerics::DequantizeRow(embedding.packed, token, out);
      }
    });
  }
}

void Network::State::Norm(Role role, int64_t layer, Values& in, Values& out, Values& inverse) {
  Resize(out, std::ssize(in));
  Resize(inverse, std::ssize(in) / config.dim);
  const std::span<const float> gains = model.Gains(role, layer);
  ForEachRow(std::ssize(inverse), [&](int64_t row) {
    inverse[static_cast<size_t>(row)] =
        RmsNorm(Row(in, row, config.dim), gains, config.norm_eps, Row(out, row, config.dim));
  });
}

void Network::State::Linear(Role role, int64_t layer, const PassOptions& options, const Values& in,
                            Values& out) {
  const BaseMatrix matrix = model.Matrix(role, layer);
  const int64_t count = std::ssize(in) / matrix.cols;
  Resize(out, count * matrix.rows);
  products.Forward(matrix, count, in.data(), out.data());
  lora.Forward(role, layer, options.dropout ? options.noise : 0, count, in.data(), out.data());
}

void Network::State::BlockForward(const Batch& batch, int64_t layer, const PassOptions& options,
                                  BlockMemory& memory) {
  const int64_t pairs = config.head_dim / 2;
  Norm(Role::kAttentionNorm, layer, memory.x, memory.normed, memory.inverse);
  Linear(Role::kWq, layer, options, memory.normed, memory.queries);
  Linear(Role::kWk, layer, options, memory.normed, memory.keys);
  Linear(Role::kWv, layer, options, memory.normed, memory.values);
  ForEachRow(tokens, [&](int64_t row) {
    const std::span<const float> angle = Row(angles, row, 2 * pairs);
    Rotate(angle, config.head_dim, false, Row(memory.queries, row, config.q_dim()));
    Rotate(angle, config.head_dim, false, Row(memory.keys, row, config.kv_dim()));
  });
  Resize(memory.attended, tokens * config.q_dim());
  Attend(pool, config, batch.segments, memory.queries.data(), memory.keys.data(),
         memory.values.data(), memory.attended.data());
  Linear(Role::kWo, layer, options, memory.attended, memory.middle);
  ForEachRow(tokens, [&](int64_t row) {
    const std::span<const float> before = Row(memory.x, row, config.dim);
    const std::span<float> after = Row(memory.middle, row, config.dim);
    for (size_t channel = 0; channel < after.size(); ++channel) {
      after[channel] += before[channel];
    }
  });
  Norm(Role::kFfnNorm, layer, memory.middle, memory.ffn_normed, memory.ffn_inverse);
  Linear(Role::kGate, layer, options, memory.ffn_normed, memory.gate);
  Linear(Role::kUp, layer, options, memory.ffn_normed, memory.up);
  Resize(memory.product, tokens * config.ffn_dim);
  ForEachRow(tokens, [&](int64_t row) {
    SwiGlu(Row(memory.gate, row, config.ffn_dim), Row(memory.up, row, config.ffn_dim),
           Row(memory.product, row, config.ffn_dim));
  });
  Linear(Role::kDown, layer, options, memory.product, x);
  ForEachRow(tokens, [&](int64_t row) {
    const std::span<const float> before = Row(memory.middle, row, config.dim);
    const std::span<float> after = Row(x, row, config.dim);
    for (size_t channel = 0; channel < after.size(); ++channel) {
      after[channel] += before[channel];
    }
  });
}

// Leaves the output of the last block in x. `keep`: for a backward pass. False when given up.
bool Network::State::Forward(const Batch& batch, const PassOptions& options, bool keep) {
  Begin(batch);
  const auto layers = static_cast<size_t>(config.n_layers);
  blocks.resize(keep && !options.recompute ? layers : 1);
  entries.resize(keep && options.recompute ? layers : 0);
  for (size_t layer = 0; layer < layers; ++layer) {
    if (IsGivenUp(options)) {
      return false;
    }
    BlockMemory& memory = blocks[blocks.size() > 1 ? layer : 0];
    memory.x = x;
    if (!entries.empty()) {
      entries[layer] = x;
    }
    BlockForward(batch, static_cast<int64_t>(layer), options, memory);
  }
  return true;
}

void Network::State::PickRows(const Batch& batch) {
  rows.clear();
  for (int64_t row = 0; row < batch.size(); ++row) {
    if (batch.targets[static_cast<size_t>(row)] >= 0) {
      rows.push_back(row);
    }
  }
  Resize(picked, std::ssize(rows) * config.dim);
  ForEachRow(std::ssize(rows), [&](int64_t index) {
    std::ranges::copy(Row(x, rows[static_cast<size_t>(index)], config.dim),
                      Row(picked, index, config.dim).begin());
  });
}

double Network::State::Head(const Batch& batch, Values* dx, std::span<float> gradients) {
  PickRows(batch);
  const int64_t count = std::ssize(rows);
  const BaseMatrix head = model.Matrix(Role::kHead, 0);
  const std::span<float> d_head =
      dx != nullptr ? GradientOf(Role::kHead, 0, gradients) : std::span<float>();
  Norm(Role::kFinalNorm, 0, picked, normed_picked, picked_inverse);
  if (dx != nullptr) {
    Resize(d_picked, count * config.dim);
  }
  std::vector<double> losses(rows.size());
  const int64_t part = std::max<int64_t>(1, kLogitValues / head.rows);
  for (int64_t begin = 0; begin < count; begin += part) {
    const int64_t now = std::min(part, count - begin);
    const float* in = normed_picked.data() + begin * config.dim;
    Resize(logits, now * head.rows);
    products.Forward(head, now, in, logits.data());
    ForEachRow(now, [&](int64_t row) {
      const auto index = static_cast<size_t>(begin + row);
      const TokenId target = batch.targets[static_cast<size_t>(rows[index])];
      const std::span<float> line = Row(logits, row, head.rows);
      losses[index] =
          dx != nullptr ? CrossEntropy(line, target) : NegativeLogLikelihood(line, target);
    });
    if (dx == nullptr) {
      continue;
    }
    if (!d_head.empty()) {
      Multiply(pool, head.rows, head.cols, now, 1.0F, {logits.data(), head.rows, true},
               {in, head.cols, false}, 1.0F, {d_head.data(), head.cols});
    }
    products.Backward(head, now, logits.data(), 0.0F, d_picked.data() + begin * config.dim);
  }
  if (dx != nullptr) {
    // d_picked is of the normed rows; what enters the norm gets it in a row of zeros.
    dx->assign(static_cast<size_t>(tokens * config.dim), 0.0F);
    const std::span<const float> gains = model.Gains(Role::kFinalNorm, 0);
    const std::span<float> d_gains = GradientOf(Role::kFinalNorm, 0, gradients);
    for (int64_t index = 0; index < count; ++index) {
      RmsNormBackward(Row(picked, index, config.dim), gains,
                      picked_inverse[static_cast<size_t>(index)], Row(d_picked, index, config.dim),
                      Row(*dx, rows[static_cast<size_t>(index)], config.dim), d_gains);
    }
  }
  double loss = 0.0;
  for (const double value : losses) {
    loss += value;
  }
  return loss;
}

void Network::State::LinearBackward(Role role, int64_t layer, const PassOptions& options,
                                    const Values& in, const Values& d_out, float keep, Values& dx,
                                    std::span<float> gradients) {
  const BaseMatrix matrix = model.Matrix(role, layer);
  Resize(dx, tokens * matrix.cols);
  products.Backward(matrix, tokens, d_out.data(), keep, dx.data());
  const std::span<float> d_weights = GradientOf(role, layer, gradients);
  if (!d_weights.empty()) {
    Multiply(pool, matrix.rows, matrix.cols, tokens, 1.0F, {d_out.data(), matrix.rows, true},
             {in.data(), matrix.cols, false}, 1.0F, {d_weights.data(), matrix.cols});
  }
  lora.Backward(role, layer, options.dropout ? options.noise : 0, tokens, in.data(), d_out.data(),
                dx.data(), gradients);
}

// The gains' gradient sums over rows: in fixed runs of rows, each summed by one thread.
void Network::State::NormBackward(Role role, int64_t layer, Values& in, const Values& inverse,
                                  Values& dy, Values& dx, std::span<float> gradients) {
  const std::span<const float> gains = model.Gains(role, layer);
  const std::span<float> d_gains = GradientOf(role, layer, gradients);
  constexpr int64_t kRun = 64;
  const int64_t runs = (tokens + kRun - 1) / kRun;
  Values sums(d_gains.empty() ? 0 : static_cast<size_t>(runs * config.dim));
  pool.ParallelFor(runs, 1, [&](int64_t begin, int64_t end) {
    for (int64_t run = begin; run < end; ++run) {
      const std::span<float> sum = sums.empty() ? std::span<float>() : Row(sums, run, config.dim);
      for (int64_t row = run * kRun; row < std::min(tokens, (run + 1) * kRun); ++row) {
        RmsNormBackward(Row(in, row, config.dim), gains, inverse[static_cast<size_t>(row)],
                        Row(dy, row, config.dim), Row(dx, row, config.dim), sum);
      }
    }
  });
  for (size_t index = 0; index < sums.size(); ++index) {
    d_gains[index % d_gains.size()] += sums[index];
  }
}

// dx enters as the gradient of what leaves the block and becomes that of what enters it.
void Network::State::BlockBackward(const Batch& batch, int64_t layer, const PassOptions& options,
                                   BlockMemory& memory, Values& dx, std::span<float> gradients) {
  const int64_t pairs = config.head_dim / 2;
  LinearBackward(Role::kDown, layer, options, memory.product, dx, 0.0F, d_product, gradients);
  ForEachRow(tokens, [&](int64_t row) {
    SwiGluBackward(Row(d_product, row, config.ffn_dim), Row(memory.gate, row, config.ffn_dim),
                   Row(memory.up, row, config.ffn_dim));
  });
  LinearBackward(Role::kGate, layer, options, memory.ffn_normed, memory.gate, 0.0F, d_normed,
                 gradients);
  LinearBackward(Role::kUp, layer, options, memory.ffn_normed, memory.up, 1.0F, d_normed,
                 gradients);
  NormBackward(Role::kFfnNorm, layer, memory.middle, memory.ffn_inverse, d_normed, dx, gradients);

  LinearBackward(Role::kWo, layer, options, memory.attended, dx, 0.0F, d_attended, gradients);
  Resize(d_queries, tokens * config.q_dim());
  Resize(d_keys, tokens * config.kv_dim());
  Resize(d_values, tokens * config.kv_dim());
  AttendBackward(pool, config, batch.segments, memory.queries.data(), memory.keys.data(),
                 memory.values.data(), memory.attended.data(), d_attended.data(), d_queries.data(),
                 d_keys.data(), d_values.data());
  ForEachRow(tokens, [&](int64_t row) {
    const std::span<const float> angle = Row(angles, row, 2 * pairs);
    Rotate(angle, config.head_dim, true, Row(d_queries, row, config.q_dim()));
    Rotate(angle, config.head_dim, true, Row(d_keys, row, config.kv_dim()));
  });
  LinearBackward(Role::kWq, layer, options, memory.normed, d_queries, 0.0F, d_normed, gradients);
  LinearBackward(Role::kWk, layer, options, memory.normed, d_keys, 1.0F, d_normed, gradients);
  LinearBackward(Role::kWv, layer, options, memory.normed, d_values, 1.0F, d_normed, gradients);
  NormBackward(Role::kAttentionNorm, layer, memory.x, memory.inverse, d_normed, dx, gradients);
}

double Network::Loss(const Batch& batch, const PassOptions& options) {
  return state_->Forward(batch, options, false) ? state_->Head(batch, nullptr, {}) : 0.0;
}

double Network::LossAndGradient(const Batch& batch, const PassOptions& options,
                                std::span<float> gradients) {
  State& state = *state_;
  if (!state.Forward(batch, options, true)) {
    return 0.0;
  }
  Values dx;
  const double loss = state.Head(batch, &dx, gradients);
  for (int64_t layer = state.config.n_layers - 1; layer >= 0; --layer) {
    if (IsGivenUp(options)) {
      return 0.0;
    }
    const bool recompute = !state.entries.empty();
    BlockMemory& memory = state.blocks[recompute ? 0 : static_cast<size_t>(layer)];
    if (recompute) {
      memory.x = std::move(state.entries[static_cast<size_t>(layer)]);
      state.BlockForward(batch, layer, options, memory);
    }
    state.BlockBackward(batch, layer, options, memory, dx, gradients);
  }
  const std::span<float> d_embedding = state.GradientOf(Role::kTokenEmbedding, 0, gradients);
  if (!d_embedding.empty()) {
    const int64_t dim = state.config.dim;
    for (int64_t row = 0; row < batch.size(); ++row) {
      const int64_t token = batch.tokens[static_cast<size_t>(row)];
      float* sum = d_embedding.data() + token * dim;
      const float* add = dx.data() + row * dim;
      for (int64_t channel = 0; channel < dim; ++channel) {
        sum[channel] += add[channel];
      }
    }
  }
  return loss;
}

std::vector<float> Network::Logits(const Batch& batch) {
  State& state = *state_;
  state.Forward(batch, {}, false);
  const BaseMatrix head = state.model.Matrix(Role::kHead, 0);
  Values normed;
  Values inverse;
  state.Norm(Role::kFinalNorm, 0, state.x, normed, inverse);
  Values logits(static_cast<size_t>(batch.size() * head.rows));
  state.products.Forward(head, batch.size(), normed.data(), logits.data());
  return logits;
}

int64_t Network::PassBytes(const model::Config& config, int64_t tokens, int64_t targets,
                           bool recompute) {
  const int64_t block =
      4 * config.dim + 2 * config.q_dim() + 2 * config.kv_dim() + 3 * config.ffn_dim + 2;
  const int64_t kept = recompute ? block + config.n_layers * config.dim : config.n_layers * block;
  const int64_t passing =
      3 * config.dim + 2 * config.q_dim() + 2 * config.kv_dim() + config.ffn_dim + config.head_dim;
  const int64_t head = 3 * config.dim * targets +
                       std::min(targets * config.vocab_size, kLogitValues + config.vocab_size);
  return static_cast<int64_t>(sizeof(float)) * (tokens * (kept + passing) + head);
}

}  // namespace etch::tune
