#pragma once

// Small models for the tests of the openers, written in each format from any SourceModel.

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/file.h"
#include "formats/dequantize.h"
#include "formats/gguf.h"
#include "formats/safetensors.h"
#include "ingest/huggingface_model.h"
#include "ingest/source_model.h"
#include "ingest/stored_model.h"

namespace etch::ingest::testing {

using Weights = std::map<TensorKey, std::vector<float>>;

inline std::vector<float> ReadTensor(const SourceModel& source, TensorKey key) {
  std::vector<float> values(
      static_cast<size_t>(model::TensorShape(source.config(), key.first).size()));
  const Status status = source.Read(key.first, key.second, values);
  EXPECT_TRUE(status) << status.error().message;
  return values;
}

inline Weights ReadWeights(const SourceModel& source) {
  Weights weights;
  for (const TensorKey& key : RequiredTensors(source.config())) {
    weights.emplace(key, ReadTensor(source, key));
  }
  return weights;
}

// 264 tokens: three control tokens, 256 bytes, five letters.
inline model::Config TinyConfig() {
  model::Config config;
  config.dim = 8;
  config.ffn_dim = 12;
  config.n_layers = 2;
  config.n_heads = 2;
  config.n_kv_heads = 1;
  config.head_dim = 4;
  config.vocab_size = 264;
  config.context = 32;
  return config;
}

inline std::unique_ptr<SourceModel> TinyModel(bool tied = false) {
  model::Config config = TinyConfig();
  config.tied_embeddings = tied;
  return MakeSyntheticModel(config, 7, "tiny");
}

inline std::vector<std::string> TinyTokens() {
  std::vector<std::string> tokens = {"<unk>", "<s>", "</s>"};
  for (int byte = 0; byte < 256; ++byte) {
    tokens.push_back(fmt::format("<0x{:02X}>", byte));
  }
  for (const char* letter : {"a", "b", "c", "ab", "\xE2\x96\x81"}) {
    tokens.emplace_back(letter);
  }
  return tokens;
}

// 1 normal, 2 unknown, 3 control, 6 byte: the numbers of GGUF and SentencePiece.
inline int TinyTokenType(size_t id) { return id == 0 ? 2 : id < 3 ? 3 : id < 259 ? 6 : 1; }

// Metadata and tensors of a GGUF file, to change before it is written.
struct GgufContent {
  formats::GgufMetadata metadata;
  std::map<std::string, formats::GgufSource> tensors;
  std::map<std::string, std::vector<std::byte>> data;

  void SetTensor(const std::string& name, std::vector<int64_t> dims,
                 const std::vector<float>& values) {
    std::vector<std::byte>& bytes = data[name];
    bytes.resize(values.size() * sizeof(float));
    ASSERT_TRUE(formats::EncodeFloats(formats::DataType::kF32, values, bytes));
    tensors[name] = {name, formats::DataType::kF32, std::move(dims), bytes};
  }
  // A copy of the metadata with one key changed or, with `value` null, left out.
  void SetKey(const std::string& key, const formats::GgufValue* value) {
    formats::GgufMetadata changed;
    for (const auto& [name, old] : metadata.entries()) {
      if (name != key) {
        changed.Add(name, old);
      }
    }
    if (value != nullptr) {
      changed.Add(key, *value);
    }
    metadata = std::move(changed);
  }
  void Write(const std::filesystem::path& path) const {
    std::vector<formats::GgufSource> list;
    for (const auto& [name, tensor] : tensors) {
      list.push_back(tensor);
    }
    const Status status = formats::WriteGguf(path, metadata, list);
    ASSERT_TRUE(status) << status.error().message;
  }
};

inline GgufContent TinyGguf(const SourceModel& source) {
  using namespace formats;
  const model::Config& config = source.config();
  GgufContent content;
  GgufMetadata& metadata = content.metadata;
  const auto integer = [&](const std::string& key, int64_t value) {
    metadata.Add("llama." + key, GgufUint32(static_cast<uint32_t>(value)));
  };
  metadata.Add("general.architecture", GgufString("llama"));
  integer("embedding_length", config.dim);
  integer("feed_forward_length", config.ffn_dim);
  integer("block_count", config.n_layers);
  integer("attention.head_count", config.n_heads);
  integer("attention.head_count_kv", config.n_kv_heads);
  integer("context_length", config.context);
  integer("rope.dimension_count", config.head_dim);
  integer("attention.key_length", config.head_dim);
  metadata.Add("llama.attention.layer_norm_rms_epsilon",
               GgufFloat32(static_cast<float>(config.norm_eps)));
  metadata.Add("llama.rope.freq_base", GgufFloat32(static_cast<float>(config.rope_theta)));
  metadata.Add("tokenizer.ggml.model", GgufString("llama"));
  metadata.Add("tokenizer.ggml.tokens", GgufStrings(TinyTokens()));
  std::vector<int64_t> types;
  for (size_t id = 0; id < TinyTokens().size(); ++id) {
    types.push_back(TinyTokenType(id));
  }
  metadata.Add("tokenizer.ggml.token_type", GgufInt32s(types));
  metadata.Add("tokenizer.ggml.scores", GgufFloat32s(std::vector<double>(types.size())));
  metadata.Add("tokenizer.ggml.bos_token_id", GgufUint32(1));
  metadata.Add("tokenizer.ggml.eos_token_id", GgufUint32(2));
  metadata.Add("tokenizer.ggml.unknown_token_id", GgufUint32(0));
  for (const auto& [key, values] : ReadWeights(source)) {
    const model::Shape shape = model::TensorShape(config, key.first);
    const std::vector<int64_t> dims =
        shape.rows == 1 ? std::vector{shape.cols} : std::vector{shape.cols, shape.rows};
    content.SetTensor(model::TensorName(key.first, key.second) + ".weight", dims, values);
  }
  return content;
}

// A SentencePiece ModelProto: field 1 pieces {1 text, 2 score, 3 type}, field 2 trainer
// {3 model type BPE, 35 byte fallback}.
inline std::string SentencePieceModel(const std::vector<model::Token>& tokens) {
  const auto varint = [](std::string& out, uint64_t value) {
    for (; value >= 128; value >>= 7) {
      out.push_back(static_cast<char>(value | 128));
    }
    out.push_back(static_cast<char>(value));
  };
  std::string proto;
  for (const model::Token& token : tokens) {
    std::string piece = "\x0A";
    varint(piece, token.text.size());
    piece += token.text + "\x15" + std::string(4, '\0');
    std::memcpy(piece.data() + piece.size() - 4, &token.score, sizeof token.score);
    piece += "\x18";
    varint(piece, static_cast<uint64_t>(token.type));
    proto += "\x0A";
    varint(proto, piece.size());
    proto += piece;
  }
  return proto + std::string("\x12\x05\x18\x02\x98\x02\x01", 7);
}

inline std::vector<model::Token> TinySentencePieces() {
  std::vector<model::Token> pieces;
  for (const std::string& text : TinyTokens()) {
    pieces.push_back({text, 0.0F, static_cast<model::TokenType>(TinyTokenType(pieces.size()))});
  }
  return pieces;
}

inline nlohmann::json HuggingFaceConfig(const model::Config& config) {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"hidden_size", config.dim},
          {"intermediate_size", config.ffn_dim},
          {"num_hidden_layers", config.n_layers},
          {"num_attention_heads", config.n_heads},
          {"num_key_value_heads", config.n_kv_heads},
          {"head_dim", config.head_dim},
          {"vocab_size", config.vocab_size},
          {"max_position_embeddings", config.context},
          {"rms_norm_eps", config.norm_eps},
          {"rope_theta", config.rope_theta},
          {"tie_word_embeddings", config.tied_embeddings}};
}

// Without the sync of WriteFileAtomically, and without the one that some file systems do when a
// file is truncated: mutation tests write thousands of files.
inline void WriteText(const std::filesystem::path& path, const std::string& text) {
  std::filesystem::remove(path);
  std::ofstream out(path, std::ios::binary);
  out << text;
  ASSERT_TRUE(out.flush());
}

// The model's tensors under Hugging Face's names, with wq and wk in its row order.
struct NamedTensors {
  std::vector<std::vector<float>> values;
  std::vector<formats::SafetensorsSource> sources;
};

inline NamedTensors HuggingFaceTensors(const SourceModel& source, formats::DataType type) {
  NamedTensors tensors;
  const model::Config& config = source.config();
  for (const auto& [key, values] : ReadWeights(source)) {
    const model::Shape shape = model::TensorShape(config, key.first);
    std::vector<float> ordered = values;
    if (key.first == model::Role::kWq || key.first == model::Role::kWk) {
      for (int64_t row = 0; row < shape.rows; ++row) {
        const int64_t to = model::HuggingFaceRow(row, config.head_dim);
        std::copy_n(values.begin() + row * shape.cols, shape.cols,
                    ordered.begin() + to * shape.cols);
      }
    }
    tensors.values.push_back(std::move(ordered));
    const std::vector<int64_t> dims =
        shape.rows == 1 ? std::vector{shape.cols} : std::vector{shape.rows, shape.cols};
    tensors.sources.push_back(
        {HuggingFaceName(key.first, key.second), type, dims, tensors.values.back()});
  }
  return tensors;
}

// A directory of one shard, or of `shards` with their index.
inline void WriteHuggingFace(const std::filesystem::path& folder, const SourceModel& source,
                             formats::DataType type, const std::vector<model::Token>& pieces,
                             size_t shards = 1) {
  const NamedTensors tensors = HuggingFaceTensors(source, type);
  WriteText(folder / "config.json", HuggingFaceConfig(source.config()).dump());
  WriteText(folder / "tokenizer.model", SentencePieceModel(pieces));
  nlohmann::json map;
  for (size_t shard = 0; shard < shards; ++shard) {
    const std::string name =
        shards == 1 ? "model.safetensors"
                    : fmt::format("model-{:05}-of-{:05}.safetensors", shard + 1, shards);
    std::vector<formats::SafetensorsSource> part;
    for (size_t index = shard; index < tensors.sources.size(); index += shards) {
      part.push_back(tensors.sources[index]);
      map[tensors.sources[index].name] = name;
    }
    ASSERT_TRUE(formats::WriteSafetensors(folder / name, part, {{"format", "pt"}}));
  }
  if (shards > 1) {
    WriteText(folder / "model.safetensors.index.json",
              nlohmann::json{{"metadata", {{"total_size", 1}}}, {"weight_map", map}}.dump());
  }
}

// What OpenModel answers to a path: "" when it opens.
inline std::string OpenError(const std::filesystem::path& path,
                             const std::filesystem::path& tokenizer = {}) {
  const auto opened = OpenModel(path, tokenizer);
  return opened ? "" : opened.error().message;
}

}  // namespace etch::ingest::testing
