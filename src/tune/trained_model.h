#pragma once

// What a training run changes, and the base around it: LoRA pairs over a frozen image, or all
// weights of a new base.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "adapter/adapter.h"
#include "base/error.h"
#include "image/image.h"
#include "model/config.h"
#include "model/tensors.h"
#include "tune/base_matrix.h"
#include "tune/parameters.h"

namespace etch::tune {

struct LoraSettings {
  int64_t rank = 16;
  double alpha = 32.0;
  bool rank_stabilised = false;  // rsLoRA: alpha / sqrt(rank) instead of alpha / rank
  double dropout = 0.0;          // of the input of A, in [0, 1)
  std::vector<model::Role> roles{model::kBlockLinears.begin(), model::kBlockLinears.end()};

  double scaling() const;
};

// The two matrices beside one linear layer: y += scaling · B · A · x.
struct LoraIndex {
  int64_t a = -1;  // parameter (rank, cols); negative: none
  int64_t b = -1;  // parameter (rows, rank)
};

class TrainedModel {
 public:
  // A starts as Kaiming-uniform noise drawn from `seed`, B as zeros (Hu et al. 2021, as PEFT does
  // it), so that the first step starts from the base. `image` must outlive the model.
  // kInvalidArgument for a rank below 1 or above the width of a layer, dropout outside of [0, 1),
  // or no roles.
  static Result<TrainedModel> OverImage(const image::Image& image, const LoraSettings& settings,
                                        uint64_t seed);

  // All weights, drawn from `seed`: normal with deviation 0.02, the outputs of attention and
  // feed-forward divided by sqrt(2 · layers) (GPT-2's rule); norms 1.
  static TrainedModel FromScratch(const model::Config& config, uint64_t seed);

  const model::Config& config() const { return config_; }
  const image::Image* image() const { return image_; }
  const LoraSettings& lora_settings() const { return lora_settings_; }
  Parameters& parameters() { return parameters_; }
  const Parameters& parameters() const { return parameters_; }

  BaseMatrix Matrix(model::Role role, int64_t layer) const;
  std::span<const float> Gains(model::Role role, int64_t layer) const;
  // The parameter that holds a weight of the base, or a negative number when it is frozen.
  int64_t Trained(model::Role role, int64_t layer) const;
  LoraIndex Lora(model::Role role, int64_t layer) const;

  // The pairs as an adapter file holds them; only for a model over an image.
  adapter::Adapter ToAdapter(std::string name) const;

 private:
  size_t Slot(model::Role role, int64_t layer) const;

  model::Config config_;
  const image::Image* image_ = nullptr;
  LoraSettings lora_settings_;
  Parameters parameters_;
  std::vector<int64_t> trained_;  // by slot
  std::vector<LoraIndex> lora_;   // by slot
};

}  // namespace etch::tune
