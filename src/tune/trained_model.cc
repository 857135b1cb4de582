#include "tune/trained_model.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "tune/random.h"

namespace etch::tune {
namespace {

using model::Role;

void FillUniform(uint64_t seed, uint64_t stream, float bound, std::span<float> values) {
  for (size_t index = 0; index < values.size(); ++index) {
    values[index] = bound * (2.0F * UniformAt(seed, stream, index) - 1.0F);
  }
}

// Box and Muller, two uniforms a value.
void FillNormal(uint64_t seed, uint64_t stream, float deviation, std::span<float> values) {
  for (size_t index = 0; index < values.size(); ++index) {
    const float first = 1.0F - UniformAt(seed, stream, 2 * index);
    const float second = UniformAt(seed, stream, 2 * index + 1);
    values[index] = deviation * std::sqrt(-2.0F * std::log(first)) *
                    std::cos(2.0F * std::numbers::pi_v<float> * second);
  }
}

}  // namespace

double LoraSettings::scaling() const {
  const auto size = static_cast<double>(rank);
  return alpha / (rank_stabilised ? std::sqrt(size) : size);
}

size_t TrainedModel::Slot(Role role, int64_t layer) const {
  return static_cast<size_t>(layer * model::kRoleCount) + static_cast<size_t>(role);
}

Result<TrainedModel> TrainedModel::OverImage(const image::Image& image,
                                             const LoraSettings& settings, uint64_t seed) {
  const model::Config& config = image.config();
  if (settings.roles.empty()) {
    return Fail(ErrorCode::kInvalidArgument, "no layers to adapt; name some with --targets");
  }
  if (!(settings.dropout >= 0.0 && settings.dropout < 1.0)) {
    return Fail(ErrorCode::kInvalidArgument, "dropout {} is not in [0, 1)", settings.dropout);
  }
  TrainedModel out;
  out.config_ = config;
  out.image_ = &image;
  out.lora_settings_ = settings;
  const auto slots = static_cast<size_t>(config.n_layers * model::kRoleCount);
  out.trained_.assign(slots, -1);
  out.lora_.resize(slots);
  for (int64_t layer = 0; layer < config.n_layers; ++layer) {
    for (const Role role : model::kBlockLinears) {
      if (std::ranges::find(settings.roles, role) == settings.roles.end()) {
        continue;
      }
      const auto [rows, cols] = model::TensorShape(config, role);
      if (settings.rank < 1 || settings.rank > std::min(rows, cols)) {
        return Fail(ErrorCode::kInvalidArgument,
                    "rank {} is not in 1 to {}, the width of {} ({} x {})", settings.rank,
                    std::min(rows, cols), model::TensorName(role, layer), rows, cols);
      }
      const std::string name = model::TensorName(role, layer);
      LoraIndex& index = out.lora_[out.Slot(role, layer)];
      index.a = out.parameters_.Add(name + ".lora_a", settings.rank, cols, true);
      index.b = out.parameters_.Add(name + ".lora_b", rows, settings.rank, true);
      // Kaiming with a = sqrt(5), as torch.nn.Linear and PEFT: uniform within 1/sqrt(cols).
      FillUniform(seed, static_cast<uint64_t>(index.a), 1.0F / std::sqrt(static_cast<float>(cols)),
                  out.parameters_.Of(index.a));
    }
  }
  return out;
}

TrainedModel TrainedModel::FromScratch(const model::Config& config, uint64_t seed) {
  TrainedModel out;
  out.config_ = config;
  const auto slots = static_cast<size_t>(config.n_layers * model::kRoleCount);
  out.trained_.assign(slots, -1);
  out.lora_.resize(slots);
  constexpr float kDeviation = 0.02F;
  const float narrowed = kDeviation / std::sqrt(2.0F * static_cast<float>(config.n_layers));
  const auto add = [&](Role role, int64_t layer) {
    const auto [rows, cols] = model::TensorShape(config, role);
    const bool is_norm = model::IsNorm(role);
    const int64_t index = out.parameters_.Add(model::TensorName(role, layer), rows, cols, !is_norm);
    out.trained_[out.Slot(role, layer)] = index;
    if (is_norm) {
      std::ranges::fill(out.parameters_.Of(index), 1.0F);
    } else {
      const bool is_output = role == Role::kWo || role == Role::kDown;
      FillNormal(seed, static_cast<uint64_t>(index), is_output ? narrowed : kDeviation,
                 out.parameters_.Of(index));
    }
  };
  add(Role::kTokenEmbedding, 0);
  for (int64_t layer = 0; layer < config.n_layers; ++layer) {
    for (int role = 0; role < model::kRoleCount; ++role) {
      if (model::IsPerLayer(static_cast<Role>(role))) {
        add(static_cast<Role>(role), layer);
      }
    }
  }
  add(Role::kFinalNorm, 0);
  if (!config.tied_embeddings) {
    add(Role::kHead, 0);
  }
  return out;
}

int64_t TrainedModel::Trained(Role role, int64_t layer) const {
  if (role == Role::kHead && config_.tied_embeddings) {
    role = Role::kTokenEmbedding;
  }
  return trained_[Slot(role, layer)];
}

LoraIndex TrainedModel::Lora(Role role, int64_t layer) const { return lora_[Slot(role, layer)]; }

BaseMatrix TrainedModel::Matrix(Role role, int64_t layer) const {
  const auto [rows, cols] = model::TensorShape(config_, role);
  BaseMatrix matrix{rows, cols, nullptr, {}};
  if (image_ != nullptr) {
    matrix.packed = image_->Weights(role, layer);
  } else {
    matrix.values = parameters_.Of(Trained(role, layer)).data();
  }
  return matrix;
}

std::span<const float> TrainedModel::Gains(Role role, int64_t layer) const {
  return image_ != nullptr ? image_->FloatGains(role, layer) : parameters_.Of(Trained(role, layer));
}

adapter::Adapter TrainedModel::ToAdapter(std::string name) const {
  adapter::Adapter out;
  out.name = std::move(name);
  out.format = "PEFT";
  out.base_model = image_ != nullptr ? image_->name() : "";
  for (int64_t layer = 0; layer < config_.n_layers; ++layer) {
    for (const Role role : model::kBlockLinears) {
      const LoraIndex index = Lora(role, layer);
      if (index.a < 0) {
        continue;
      }
      const auto [rows, cols] = model::TensorShape(config_, role);
      const std::span<const float> a = parameters_.Of(index.a);
      const std::span<const float> b = parameters_.Of(index.b);
      adapter::LoraPair pair;
      pair.role = role;
      pair.layer = layer;
      pair.rank = lora_settings_.rank;
      pair.scaling = lora_settings_.scaling();
      pair.a.assign(a.begin(), a.end());
      pair.b.assign(b.begin(), b.end());
      pair.cols = cols;
      pair.rows = rows;
      out.pairs.push_back(std::move(pair));
    }
  }
  return out;
}

}  // namespace etch::tune
