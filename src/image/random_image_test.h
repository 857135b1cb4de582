#pragma once

// Images for tests: random codes under scales that keep activations of order one, in shapes that
// fill neither tiles nor groups.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <random>
#include <string>

#include "image/writer.h"
#include "support/data.h"

namespace etch::image::test {

// Two layers, grouped heads of 8, widths 48 and 172: no multiple of 32 anywhere.
inline model::Config OddConfig() {
  model::Config config;
  config.dim = 48;
  config.ffn_dim = 172;
  config.n_layers = 2;
  config.n_heads = 6;
  config.n_kv_heads = 3;
  config.head_dim = 8;
  config.vocab_size = 67;
  config.context = 320;
  return config;
}

// One layer with heads of 80 channels (blocks of 32, 32 and 16) and more query width than dim.
inline model::Config WideHeadConfig() {
  model::Config config = OddConfig();
  config.n_layers = 1;
  config.n_heads = 4;
  config.n_kv_heads = 1;
  config.head_dim = 80;
  config.tied_embeddings = true;
  return config;
}

// WeightBytes(format, rows, cols) bytes: random codes and group parameters under row scales near
// `magnitude`.
inline std::vector<std::byte> RandomWeights(numerics::WeightFormat format, int64_t rows,
                                            int64_t cols, double magnitude, std::mt19937& random) {
  using numerics::WeightFormat;
  std::vector<std::byte> data(static_cast<size_t>(numerics::WeightBytes(format, rows, cols)));
  const auto pick = [&](int low, int high) {
    return static_cast<int8_t>(std::uniform_int_distribution<int>(low, high)(random));
  };
  const auto tile_bytes = static_cast<size_t>(numerics::TileBytes(format, cols));
  for (int64_t row = 0; row < rows; ++row) {
    const auto tile = std::span(data).subspan(
        static_cast<size_t>(row / numerics::kTileRows) * tile_bytes, tile_bytes);
    const int64_t lane = row % numerics::kTileRows;
    const double spread = std::uniform_real_distribution<double>(0.5, 2.0)(random);
    numerics::PackRowScale(tile, lane, numerics::ToScale16(magnitude * spread));
    for (int64_t group = 0; group < numerics::GroupCount(cols); ++group) {
      numerics::RowGroup values;
      for (int8_t& code : values.codes) {
        code = format == WeightFormat::kW3    ? pick(0, 7)
               : format == WeightFormat::kW6  ? pick(0, 63)
               : format == WeightFormat::kW4F ? pick(0, 15)
                                              : pick(-127, 127);
      }
      if (format == WeightFormat::kW3) {
        values.scale = pick(-16, 15);
        values.table = static_cast<uint8_t>(pick(0, 1));
      } else if (format == WeightFormat::kW6) {
        values.scale = pick(0, 63);
      } else if (format == WeightFormat::kW4F) {
        values.halvings = static_cast<uint8_t>(pick(0, 15));
      }
      numerics::PackGroup(format, cols, tile, lane, group, values);
    }
  }
  return data;
}

// Row scale with which a random matrix of `cols` inputs gives outputs of order one.
inline double UnitMagnitude(numerics::WeightFormat format, int64_t cols) {
  const double level = format == numerics::WeightFormat::kW3    ? 16.0 * 9.0
                       : format == numerics::WeightFormat::kW6  ? 18.0 * 36.0
                       : format == numerics::WeightFormat::kW4F ? 5.9 * 0.29
                                                                : 73.0;
  return 1.0 / (level * std::sqrt(static_cast<double>(cols)));
}

// Writes and opens an image with W6 for the embedding, wv and down, `third` for wo and up, W3
// elsewhere, and A16 for down and the head.
inline std::unique_ptr<Image> RandomImage(
    const model::Config& config, uint32_t seed,
    numerics::WeightFormat third = numerics::WeightFormat::kW4F) {
  using model::Role;
  using numerics::WeightFormat;
  std::mt19937 random(seed);
  ImageHeader header;
  header.name = "random";
  header.config = config;
  for (int64_t token = 0; token < config.vocab_size; ++token) {
    header.vocabulary.tokens.push_back({fmt::format("t{}", token)});
  }
  header.input_formats.assign(static_cast<size_t>(config.n_layers * model::kLayerSites + 1),
                              numerics::ActivationFormat::kA8);
  for (int64_t layer = 0; layer < config.n_layers; ++layer) {
    header.input_formats[static_cast<size_t>(layer * model::kLayerSites + 3)] =
        numerics::ActivationFormat::kA16;
  }
  header.input_formats.back() = numerics::ActivationFormat::kA16;
  const std::filesystem::path path =
      etch::test::TemporaryFolder() / fmt::format("random-{}.etch", seed);
  auto writer = ImageWriter::Create(path, header);
  EXPECT_TRUE(writer) << (writer ? "" : writer.error().message);
  const auto matrix = [&](Role role, int64_t layer, WeightFormat format, double gain) {
    const auto [rows, cols] = model::TensorShape(config, role);
    const Status added = writer->AddMatrix(
        role, layer, format,
        RandomWeights(format, rows, cols, gain * UnitMagnitude(format, cols), random));
    EXPECT_TRUE(added) << (added ? "" : added.error().message);
  };
  const auto norm = [&](Role role, int64_t layer) {
    std::vector<float> gains(static_cast<size_t>(config.dim));
    for (float& gain : gains) {
      gain = std::uniform_real_distribution<float>(-0.5F, 1.5F)(random);
    }
    EXPECT_TRUE(writer->AddNorm(role, layer, gains));
  };
  matrix(Role::kTokenEmbedding, 0, WeightFormat::kW6, std::sqrt(static_cast<double>(config.dim)));
  for (int64_t layer = 0; layer < config.n_layers; ++layer) {
    norm(Role::kAttentionNorm, layer);
    norm(Role::kFfnNorm, layer);
    for (const Role role : model::kBlockLinears) {
      const bool is_six = role == Role::kWv || role == Role::kDown;
      const bool is_third = role == Role::kWo || role == Role::kUp;
      matrix(role, layer, is_six ? WeightFormat::kW6 : is_third ? third : WeightFormat::kW3, 1.5);
    }
  }
  norm(Role::kFinalNorm, 0);
  if (!config.tied_embeddings) {
    matrix(Role::kHead, 0, WeightFormat::kW6, 3.0);
  }
  const Status finished = writer->Finish("{}", "{}");
  EXPECT_TRUE(finished) << (finished ? "" : finished.error().message);
  auto image = Image::Open(path);
  EXPECT_TRUE(image) << (image ? "" : image.error().message);
  return std::make_unique<Image>(std::move(*image));
}

}  // namespace etch::image::test
