#include "export/merged_weights.h"

#include <algorithm>

namespace etch::exporting {

using model::Role;

namespace {

bool IsBlockLinear(Role role) {
  return std::ranges::find(model::kBlockLinears, role) != model::kBlockLinears.end();
}

// delta += weight · b · A for one row b of B.
void AddProduct(const engine::AdapterLinear& linear, float weight, int64_t row,
                std::span<float> delta) {
  const auto rank = static_cast<size_t>(linear.rank);
  const auto b = std::span(linear.b_float).subspan(static_cast<size_t>(row) * rank, rank);
  for (size_t index = 0; index < rank; ++index) {
    const float factor = weight * b[index];
    const float* a = linear.a_float.data() + index * delta.size();
    for (size_t col = 0; col < delta.size(); ++col) {
      delta[col] += factor * a[col];
    }
  }
}

}  // namespace

Result<MergedWeights> MergedWeights::Create(const image::Image& image,
                                            std::vector<engine::ActiveAdapter> adapters) {
  const model::Config& config = image.config();
  for (const engine::ActiveAdapter& active : adapters) {
    bool fits = active.weights->n_layers == config.n_layers;
    for (int64_t layer = 0; fits && layer < config.n_layers; ++layer) {
      for (const Role role : model::kBlockLinears) {
        const engine::AdapterLinear& linear = active.weights->Linear(layer, role);
        const model::Shape shape = model::TensorShape(config, role);
        fits = fits && std::ssize(linear.a_float) == linear.rank * shape.cols &&
               std::ssize(linear.b_float) == linear.rank * shape.rows;
      }
    }
    if (!fits) {
      return Fail(ErrorCode::kMismatch, "adapter {} was made for a model of another shape than {}",
                  active.weights->name, image.name());
    }
  }
  return MergedWeights(image, std::move(adapters));
}

bool MergedWeights::IsAdapted(Role role, int64_t layer) const {
  return IsBlockLinear(role) &&
         std::ranges::any_of(adapters_, [&](const engine::ActiveAdapter& active) {
           return active.weights->Linear(layer, role).rank > 0 && active.weight_q16 != 0;
         });
}

void MergedWeights::ReadRow(Role role, int64_t layer, int64_t row, std::span<float> out) const {
  if (model::IsNorm(role)) {
    std::ranges::copy(image_->FloatGains(role, layer), out.begin());
    return;
  }
  numerics::DequantizeRow(image_->Weights(role, layer), row, out);
  if (!IsAdapted(role, layer)) {
    return;
  }
  std::vector<float> delta(out.size());
  for (const engine::ActiveAdapter& active : adapters_) {
    AddProduct(active.weights->Linear(layer, role),
               static_cast<float>(active.weight_q16) / 65536.0F, row, delta);
  }
  for (size_t col = 0; col < out.size(); ++col) {
    out[col] += delta[col];
  }
}

void MergedWeights::Read(Role role, int64_t layer, ThreadPool& pool, std::span<float> out) const {
  const auto cols = static_cast<size_t>(model::TensorShape(image_->config(), role).cols);
  pool.ParallelFor(static_cast<int64_t>(out.size() / cols), 4, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      ReadRow(role, layer, row, out.subspan(static_cast<size_t>(row) * cols, cols));
    }
  });
}

std::vector<TensorId> TensorsOf(const model::Config& config) {
  std::vector<TensorId> tensors = {{Role::kTokenEmbedding}};
  for (int64_t layer = 0; layer < config.n_layers; ++layer) {
    for (const Role role : {Role::kAttentionNorm, Role::kWq, Role::kWk, Role::kWv, Role::kWo,
                            Role::kFfnNorm, Role::kGate, Role::kUp, Role::kDown}) {
      tensors.push_back({role, layer});
    }
  }
  tensors.push_back({Role::kFinalNorm});
  if (!config.tied_embeddings) {
    tensors.push_back({Role::kHead});
  }
  return tensors;
}

}  // namespace etch::exporting
