#pragma once

// Adapters and adapter files for the tests: seeded pairs, and PEFT directories and GGUF files with
// anything in them.

#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "adapter/adapter.h"
#include "base/file.h"
#include "formats/dequantize.h"
#include "formats/gguf.h"
#include "formats/safetensors.h"

namespace etch::adapter::testing {

// Each extent another, so that a mix-up of two shows.
inline model::Config TinyConfig() {
  model::Config config;
  config.dim = 16;
  config.ffn_dim = 24;
  config.n_layers = 2;
  config.n_heads = 3;
  config.n_kv_heads = 1;
  config.head_dim = 4;
  config.vocab_size = 32;
  config.context = 32;
  return config;
}

inline std::vector<float> RandomValues(std::mt19937& random, int64_t count, float size) {
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) {
    value = size * (static_cast<float>(random() % 65536) / 32768.0F - 1.0F);
  }
  return values;
}

inline LoraPair RandomPair(const model::Config& config, model::Role role, int64_t layer,
                           int64_t rank, unsigned seed) {
  std::mt19937 random(seed);
  const model::Shape shape = model::TensorShape(config, role);
  LoraPair pair;
  pair.role = role;
  pair.layer = layer;
  pair.rank = rank;
  pair.scaling = 2.0;
  pair.rows = shape.rows;
  pair.cols = shape.cols;
  pair.a = RandomValues(random, rank * shape.cols, 0.5F);
  pair.b = RandomValues(random, rank * shape.rows, 0.5F);
  return pair;
}

// All seven linear layers of each block.
inline Adapter RandomAdapter(const model::Config& config, int64_t rank, unsigned seed = 1) {
  Adapter adapter;
  adapter.name = "random";
  adapter.base_model = "a/base";
  for (int64_t layer = 0; layer < config.n_layers; ++layer) {
    for (const model::Role role : model::kBlockLinears) {
      adapter.pairs.push_back(RandomPair(config, role, layer, rank, seed++));
    }
  }
  return adapter;
}

inline void ExpectSamePairs(const Adapter& expected, const Adapter& found) {
  ASSERT_EQ(expected.pairs.size(), found.pairs.size());
  for (size_t index = 0; index < expected.pairs.size(); ++index) {
    const LoraPair& left = expected.pairs[index];
    const LoraPair& right = found.pairs[index];
    EXPECT_EQ(left.role, right.role) << index;
    EXPECT_EQ(left.layer, right.layer) << index;
    EXPECT_EQ(left.rank, right.rank) << index;
    EXPECT_EQ(left.scaling, right.scaling) << index;
    EXPECT_EQ(left.rows, right.rows) << index;
    EXPECT_EQ(left.cols, right.cols) << index;
    EXPECT_EQ(left.a, right.a) << index;
    EXPECT_EQ(left.b, right.b) << index;
  }
}

// The error of a Result, "" when it has none.
template <class T>
std::string ErrorOf(const Result<T>& result) {
  return result ? ""
                : std::string(ErrorCodeName(result.error().code)) + ": " + result.error().message;
}

inline void WriteText(const std::filesystem::path& path, const std::string& text) {
  ASSERT_TRUE(WriteFileAtomically(path, AsBytes(text)));
}

// A PEFT directory to change before it is written.
struct PeftFiles {
  struct Tensor {
    std::vector<int64_t> shape;
    std::vector<float> values;
    formats::DataType type = formats::DataType::kF32;
  };
  nlohmann::ordered_json config = {{"peft_type", "LORA"}, {"r", 2}, {"lora_alpha", 4}};
  std::map<std::string, Tensor> tensors;

  void Add(const std::string& name, std::vector<int64_t> shape, float first = 1.0F,
           formats::DataType type = formats::DataType::kF32) {
    int64_t count = 1;
    for (const int64_t extent : shape) {
      count *= extent;
    }
    std::vector<float> values(static_cast<size_t>(count));
    for (size_t index = 0; index < values.size(); ++index) {
      values[index] = first + static_cast<float>(index);
    }
    tensors[name] = {std::move(shape), std::move(values), type};
  }
  void AddPair(const std::string& module, int64_t rank, int64_t rows, int64_t cols) {
    Add(module + ".lora_A.weight", {rank, cols});
    Add(module + ".lora_B.weight", {rows, rank});
  }
  void Write(const std::filesystem::path& folder) const {
    std::vector<formats::SafetensorsSource> sources;
    for (const auto& [name, tensor] : tensors) {
      sources.push_back({name, tensor.type, tensor.shape, tensor.values});
    }
    std::filesystem::create_directories(folder);
    WriteText(folder / "adapter_config.json", config.dump());
    ASSERT_TRUE(formats::WriteSafetensors(folder / "adapter_model.safetensors", sources));
  }
  Result<Adapter> Read(const std::filesystem::path& folder) const {
    Write(folder);
    return ReadAdapter(folder, TinyConfig());
  }
};

inline constexpr const char* kModule = "base_model.model.model.layers.0.self_attn.v_proj";

// One pair of rank 2 on v_proj (4, 16) of the first layer.
inline PeftFiles OnePair() {
  PeftFiles files;
  files.AddPair(kModule, 2, 4, 16);
  return files;
}

// A GGUF adapter to change before it is written.
struct GgufFiles {
  struct Tensor {
    std::vector<int64_t> dims;
    formats::DataType type = formats::DataType::kF32;
    std::vector<std::byte> data;
  };
  std::map<std::string, formats::GgufValue> keys = {
      {"general.type", formats::GgufString("adapter")},
      {"general.architecture", formats::GgufString("llama")},
      {"adapter.type", formats::GgufString("lora")},
      {"adapter.lora.alpha", formats::GgufFloat32(4.0F)}};
  std::map<std::string, Tensor> tensors;

  void Add(const std::string& name, std::vector<int64_t> dims) {
    int64_t count = 1;
    for (const int64_t extent : dims) {
      count *= extent;
    }
    std::vector<float> values(static_cast<size_t>(count), 1.0F);
    const auto bytes = std::as_bytes(std::span(values));
    tensors[name] = {std::move(dims), formats::DataType::kF32, {bytes.begin(), bytes.end()}};
  }
  void Write(const std::filesystem::path& path) const {
    formats::GgufMetadata metadata;
    for (const auto& [key, value] : keys) {
      metadata.Add(key, value);
    }
    std::vector<formats::GgufSource> sources;
    for (const auto& [name, tensor] : tensors) {
      sources.push_back({name, tensor.type, tensor.dims, tensor.data});
    }
    const Status status = formats::WriteGguf(path, metadata, sources);
    ASSERT_TRUE(status) << status.error().message;
  }
  Result<Adapter> Read(const std::filesystem::path& path) const {
    Write(path);
    return ReadAdapter(path, TinyConfig());
  }
};

// One pair of rank 2 on attn_v of the first layer.
inline GgufFiles OneGgufPair() {
  GgufFiles files;
  files.Add("blk.0.attn_v.weight.lora_a", {16, 2});
  files.Add("blk.0.attn_v.weight.lora_b", {2, 4});
  return files;
}

}  // namespace etch::adapter::testing
