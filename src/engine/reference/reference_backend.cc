// The contract as written (docs/numeric-contract.md §13): one token at a time, one thread, scalar
// code. This is the truth that every other integer backend is tested against, so it is kept plain;
// read it top to bottom to learn what the model computes.

#include <algorithm>

#include "engine/attend.h"
#include "engine/backend.h"
#include "engine/kv_cache.h"
#include "numerics/activation.h"
#include "numerics/linear.h"
#include "numerics/norm.h"
#include "numerics/rope.h"
#include "numerics/swiglu.h"

namespace etch::engine {
namespace {

using model::InputSite;
using model::Role;
using numerics::Activation;
using Vector = std::vector<int32_t>;

class ReferenceBackend : public Backend {
 public:
  ReferenceBackend(const image::Image& image, VectorObserver observer)
      : image_(image), config_(image.config()), observer_(std::move(observer)) {}

  Result<std::unique_ptr<SessionState>> NewState(int64_t context) const override {
    return KvCache::Create(config_, context);
  }
  int64_t kv_bytes_per_token() const override { return KvCache::BytesPerToken(config_); }
  bool copies_states() const override { return true; }
  bool gives_hidden() const override { return true; }
  Status Forward(std::span<const Column> columns, const Interrupted& interrupted) override {
    for (const Column& column : columns) {
      if (interrupted && interrupted()) {
        return Fail(ErrorCode::kCancelled, "interrupted");
      }
      ForwardToken(column);
    }
    return {};
  }

 private:
  void ForwardToken(const Column& column);
  Vector AttentionBlock(const Column& column, int64_t layer, const Vector& x) const;
  Vector FeedForwardBlock(const Column& column, int64_t layer, const Vector& x) const;
  Vector Norm(Role role, int64_t layer, const Vector& x) const;
  Activation Quantize(InputSite site, int64_t layer, const Vector& x) const;
  Vector Linear(const Column& column, Role role, int64_t layer, const Activation& x) const;

  void Observe(VectorKind kind, const Vector& values) const;
  void Observe(VectorKind kind, const Activation& quantized) const;
  void ObserveHeads(const QueryCodes& query, const KvCache& cache, int64_t layer,
                    int64_t position) const;

  const image::Image& image_;
  const model::Config& config_;
  VectorObserver observer_;
};

Vector Sized(int64_t size) { return Vector(static_cast<size_t>(size)); }

void AddInto(const Vector& delta, Vector& x) {
  for (size_t index = 0; index < x.size(); ++index) {
    x[index] = numerics::Saturate32(int64_t{x[index]} + delta[index]);
  }
}

void ReferenceBackend::ForwardToken(const Column& column) {
  Vector x = Sized(config_.dim);  // the residual stream
  numerics::EmbedRow(image_.Weights(Role::kTokenEmbedding, 0), column.token, x);
  Observe(VectorKind::kEmbedding, x);
  for (int64_t layer = 0; layer < config_.n_layers; ++layer) {
    AddInto(AttentionBlock(column, layer, x), x);
    Observe(VectorKind::kResidual, x);
    AddInto(FeedForwardBlock(column, layer, x), x);
    Observe(VectorKind::kResidual, x);
  }
  if (!column.logits.empty()) {
    const Vector normed = Norm(Role::kFinalNorm, 0, x);
    if (!column.hidden.empty()) {
      std::ranges::copy(normed, column.hidden.begin());
    }
    numerics::MultiplyMatrix(image_.Weights(Role::kHead, 0), Quantize(InputSite::kHead, 0, normed),
                             column.logits);
    if (observer_) {
      observer_({VectorKind::kLogits, column.logits, {}});
    }
  }
}

Vector ReferenceBackend::AttentionBlock(const Column& column, int64_t layer,
                                        const Vector& x) const {
  auto& cache = static_cast<KvCache&>(*column.state);
  const Activation input =
      Quantize(InputSite::kAttention, layer, Norm(Role::kAttentionNorm, layer, x));
  Vector queries = Linear(column, Role::kWq, layer, input);
  Vector keys = Linear(column, Role::kWk, layer, input);
  const Vector values = Linear(column, Role::kWv, layer, input);

  std::vector<numerics::Rotation> rotations(static_cast<size_t>(config_.head_dim / 2));
  numerics::RotationsAt(image_.rope_high(), image_.rope_low(), config_.head_dim / 2,
                        column.position, rotations);
  const auto head_dim = static_cast<size_t>(config_.head_dim);
  for (size_t head = 0; head < queries.size(); head += head_dim) {
    numerics::RotateHead(rotations, std::span(queries).subspan(head, head_dim));
  }
  Observe(VectorKind::kRotated, queries);
  for (size_t head = 0; head < keys.size(); head += head_dim) {
    numerics::RotateHead(rotations, std::span(keys).subspan(head, head_dim));
  }
  Observe(VectorKind::kRotated, keys);
  cache.Store(layer, column.position, keys, values);

  QueryCodes query;
  query.Quantize(config_, queries);
  ObserveHeads(query, cache, layer, column.position);
  Vector attended = Sized(config_.q_dim());
  AttendScratch scratch;
  const int64_t heads_per_kv = config_.n_heads / config_.n_kv_heads;
  for (int64_t head = 0; head < config_.n_heads; ++head) {
    Attend(image_, cache, query.Head(config_, head), layer, head / heads_per_kv,
           column.position + 1, scratch,
           std::span(attended).subspan(static_cast<size_t>(head) * head_dim, head_dim));
  }
  Observe(VectorKind::kAttended, attended);
  return Linear(column, Role::kWo, layer, Quantize(InputSite::kOutput, layer, attended));
}

Vector ReferenceBackend::FeedForwardBlock(const Column& column, int64_t layer,
                                          const Vector& x) const {
  const Activation input = Quantize(InputSite::kFfn, layer, Norm(Role::kFfnNorm, layer, x));
  const Vector gate = Linear(column, Role::kGate, layer, input);
  const Vector up = Linear(column, Role::kUp, layer, input);
  std::vector<int64_t> products(gate.size());
  for (size_t index = 0; index < gate.size(); ++index) {
    products[index] = numerics::SwiGlu(gate[index], up[index], image_.tables());
  }
  Activation hidden;
  numerics::QuantizeActivation(products, 2 * numerics::kPoint,
                               image_.InputFormat(InputSite::kDown, layer), hidden);
  Observe(VectorKind::kInput, hidden);
  return Linear(column, Role::kDown, layer, hidden);
}

Vector ReferenceBackend::Norm(Role role, int64_t layer, const Vector& x) const {
  Vector normed = Sized(config_.dim);
  numerics::RmsNorm(x, image_.Gains(role, layer), image_.norm_epsilon(), image_.tables(), normed);
  Observe(VectorKind::kNorm, normed);
  return normed;
}

Activation ReferenceBackend::Quantize(InputSite site, int64_t layer, const Vector& x) const {
  Activation out;
  numerics::QuantizeActivation(x, image_.InputFormat(site, layer), out);
  Observe(VectorKind::kInput, out);
  return out;
}

// The base's product and those of the session's adapters, added in 64 bits and saturated once.
Vector ReferenceBackend::Linear(const Column& column, Role role, int64_t layer,
                                const Activation& x) const {
  const auto [rows, cols] = model::TensorShape(config_, role);
  Vector base = Sized(rows);
  numerics::MultiplyMatrix(image_.Weights(role, layer), x, base);
  Observe(VectorKind::kLinear, base);
  std::vector<int64_t> sums(base.begin(), base.end());
  for (const ActiveAdapter& active : column.adapters) {
    const AdapterLinear& adapter = active.weights->Linear(layer, role);
    if (adapter.rank == 0) {
      continue;
    }
    Vector reduced = Sized(adapter.padded_rank());
    numerics::MultiplyMatrix(adapter.ViewA(cols), x, reduced);
    Observe(VectorKind::kAdapterA, reduced);
    Activation quantized;
    numerics::QuantizeActivation(reduced, numerics::ActivationFormat::kA8, quantized);
    Observe(VectorKind::kAdapterInner, quantized);
    Vector delta = Sized(rows);
    numerics::MultiplyMatrix(adapter.ViewB(rows), quantized, delta);
    for (size_t row = 0; row < sums.size(); ++row) {
      sums[row] += numerics::WeighDelta(delta[row], active.weight_q16);
    }
    if (observer_) {
      Vector sum = Sized(rows);
      std::transform(sums.begin(), sums.end(), sum.begin(), numerics::Saturate32);
      Observe(VectorKind::kAdapterB, sum);
    }
  }
  std::transform(sums.begin(), sums.end(), base.begin(), numerics::Saturate32);
  return base;
}

void ReferenceBackend::Observe(VectorKind kind, const Vector& values) const {
  if (observer_) {
    observer_({kind, values, {}});
  }
}

void ReferenceBackend::Observe(VectorKind kind, const Activation& quantized) const {
  if (observer_) {
    observer_({kind, Vector(quantized.codes.begin(), quantized.codes.end()), quantized.shifts});
  }
}

void ReferenceBackend::ObserveHeads(const QueryCodes& query, const KvCache& cache, int64_t layer,
                                    int64_t position) const {
  if (!observer_) {
    return;
  }
  const auto observe = [&](int64_t n_heads, auto head_codes) {
    Vector codes;
    std::vector<uint8_t> shifts;
    for (int64_t head = 0; head < n_heads; ++head) {
      const auto one = head_codes(head);
      codes.insert(codes.end(), one.codes.begin(), one.codes.end());
      shifts.insert(shifts.end(), one.shifts.begin(), one.shifts.end());
    }
    observer_({VectorKind::kHeads, codes, shifts});
  };
  observe(config_.n_heads, [&](int64_t head) { return query.Head(config_, head); });
  observe(config_.n_kv_heads, [&](int64_t head) { return cache.Key(layer, position, head); });
  observe(config_.n_kv_heads, [&](int64_t head) { return cache.Value(layer, position, head); });
}

}  // namespace

std::unique_ptr<Backend> MakeReferenceBackend(const image::Image& image, VectorObserver observer) {
  return std::make_unique<ReferenceBackend>(image, std::move(observer));
}

}  // namespace etch::engine
