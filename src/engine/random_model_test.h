#pragma once

// Models and adapters for the tests of the engine: image/random_image_test.h, and adapters for it.

#include <fmt/format.h>

#include <memory>
#include <random>

#include "engine/adapter_weights.h"
#include "image/random_image_test.h"

namespace etch::engine::test {

using image::test::OddConfig;
using image::test::RandomImage;
using image::test::RandomWeights;
using image::test::UnitMagnitude;
using image::test::WideHeadConfig;

// An adapter of `rank` on every linear but the gates, with float parts that equal the W8 parts.
inline std::shared_ptr<const AdapterWeights> RandomAdapter(const model::Config& config,
                                                           int64_t rank, uint32_t seed) {
  using numerics::WeightFormat;
  std::mt19937 random(seed);
  auto weights = std::make_shared<AdapterWeights>();
  weights->name = fmt::format("random-{}", seed);
  weights->n_layers = config.n_layers;
  for (int64_t layer = 0; layer < config.n_layers; ++layer) {
    for (const model::Role role : model::kBlockLinears) {
      AdapterLinear linear;
      const auto [rows, cols] = model::TensorShape(config, role);
      if (role != model::Role::kGate) {
        linear.rank = rank;
        const auto a = RandomWeights(WeightFormat::kW8, rank, cols,
                                     UnitMagnitude(WeightFormat::kW8, cols), random);
        linear.a.assign(a.begin(), a.end());
        const auto b = RandomWeights(WeightFormat::kW8, rows, rank,
                                     0.3 * UnitMagnitude(WeightFormat::kW8, rank), random);
        linear.b.assign(b.begin(), b.end());
        linear.a_float.resize(static_cast<size_t>(rank * cols));
        for (int64_t row = 0; row < rank; ++row) {
          numerics::DequantizeRow(
              linear.ViewA(cols), row,
              std::span(linear.a_float)
                  .subspan(static_cast<size_t>(row * cols), static_cast<size_t>(cols)));
        }
        linear.b_float.resize(static_cast<size_t>(rows * rank));
        for (int64_t row = 0; row < rows; ++row) {
          numerics::DequantizeRow(
              linear.ViewB(rows), row,
              std::span(linear.b_float)
                  .subspan(static_cast<size_t>(row * rank), static_cast<size_t>(rank)));
        }
        weights->size_bytes += linear.a.size() + linear.b.size();
      }
      weights->linears.push_back(std::move(linear));
    }
  }
  return weights;
}

}  // namespace etch::engine::test
