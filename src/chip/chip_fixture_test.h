#pragma once

// A small design for tests, with figures that can be worked out by hand.

#include <gtest/gtest.h>

#include "chip/estimate.h"

namespace etch::chip::test {

// Two layers of 64 channels: all sizes are whole groups.
inline Design SmallDesign() {
  Design design;
  design.name = "small";
  design.title = "small";
  design.model = "small";
  design.technology = "unit";
  model::Config& config = design.shape.config;
  config.dim = 64;
  config.ffn_dim = 128;
  config.n_layers = 2;
  config.n_heads = 2;
  config.n_kv_heads = 1;
  config.head_dim = 32;
  config.vocab_size = 96;
  config.context = 256;
  design.choices.lanes = 32;
  design.choices.context = 128;
  design.choices.adapter_rank = 32;
  design.choices.adapter_slots = 1;
  design.use = {1, 16, 16, false};
  return design;
}

inline Model MakeModel(const Design& design, const Inputs& inputs) {
  Result<Model> model = Model::Create(design, inputs);
  EXPECT_TRUE(model) << model.error().message;
  return *std::move(model);
}

inline Inputs MakeInputs(const std::string& technology) {
  Result<Inputs> inputs = LoadInputs(technology);
  EXPECT_TRUE(inputs) << inputs.error().message;
  return *std::move(inputs);
}

}  // namespace etch::chip::test
