#include "export/huggingface_model.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <deque>
#include <nlohmann/json.hpp>

#include "export/encode.h"
#include "export/huggingface_tokenizer.h"
#include "export/merged_weights.h"
#include "export/parity.h"
#include "formats/safetensors.h"
#include "ingest/huggingface_model.h"

namespace etch::exporting {
namespace {

namespace fs = std::filesystem;
using model::Role;
using model::RopeScaling;
using Json = nlohmann::ordered_json;

constexpr std::array<std::string_view, 7> kFileNames = {
    "config.json",           "generation_config.json",  "model.safetensors",  "tokenizer.json",
    "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"};

std::string_view TorchName(DataType type) {
  return type == DataType::kF32 ? "float32" : type == DataType::kF16 ? "float16" : "bfloat16";
}

// Whole numbers without a point, as these files have them.
Json Number(double value) {
  if (value == std::round(value) && std::abs(value) < 1e15) {
    return static_cast<int64_t>(value);
  }
  return value;
}

Json RopeJson(const RopeScaling& scaling) {
  if (scaling.kind == RopeScaling::Kind::kNone) {
    return nullptr;
  }
  if (scaling.kind == RopeScaling::Kind::kLinear) {
    return {{"factor", scaling.factor}, {"rope_type", "linear"}};
  }
  return {{"factor", scaling.factor},
          {"high_freq_factor", scaling.high_freq_factor},
          {"low_freq_factor", scaling.low_freq_factor},
          {"original_max_position_embeddings", Number(scaling.original_context)},
          {"rope_type", "llama3"}};
}

// bos_token_id and eos_token_id, where there are any.
Json TokenIds(const model::Vocabulary& vocabulary) {
  Json ids = Json::object();
  if (vocabulary.bos != model::kNoToken) {
    ids["bos_token_id"] = vocabulary.bos;
  }
  const auto& ends = vocabulary.end_of_generation;
  if (ends.size() == 1) {
    ids["eos_token_id"] = ends.front();
  } else if (!ends.empty()) {
    ids["eos_token_id"] = ends;
  }
  return ids;
}

// A tensor's values in Hugging Face's row order.
void ReorderRows(const model::Config& config, Role role, std::vector<float>& values) {
  if (role != Role::kWq && role != Role::kWk) {
    return;
  }
  const model::Shape shape = model::TensorShape(config, role);
  const auto cols = static_cast<std::ptrdiff_t>(shape.cols);
  std::vector<float> ordered(values.size());
  for (int64_t row = 0; row < shape.rows; ++row) {
    const int64_t from = model::InterleavedRow(row, config.head_dim);
    std::copy_n(values.begin() + from * cols, cols, ordered.begin() + row * cols);
  }
  values = std::move(ordered);
}

Status WriteWeights(const model::Config& config, const ReadTensor& read, DataType type,
                    const fs::path& file) {
  std::deque<std::vector<float>> values;  // its elements stay where they are
  std::vector<formats::SafetensorsSource> sources;
  for (const TensorId& id : TensorsOf(config)) {
    const model::Shape shape = model::TensorShape(config, id.role);
    std::vector<float>& tensor = values.emplace_back(static_cast<size_t>(shape.size()));
    ETCH_TRY(read(id.role, id.layer, tensor));
    const std::string name = ingest::HuggingFaceName(id.role, id.layer);
    std::vector<std::byte> encoded(tensor.size() * (type == DataType::kF32 ? 4 : 2));
    if (Status status = EncodeRow(type, tensor, encoded); !status) {
      return Prefix(fmt::format("tensor \"{}\"", name), std::move(status).error());
    }
    ReorderRows(config, id.role, tensor);
    const std::vector<int64_t> dims = model::IsNorm(id.role)
                                          ? std::vector<int64_t>{shape.cols}
                                          : std::vector<int64_t>{shape.rows, shape.cols};
    sources.push_back({name, type, dims, tensor});
  }
  return formats::WriteSafetensors(file, sources, {{"format", "pt"}});
}

Status CompareTensor(const TensorId& id, DataType type, std::span<const float> wanted,
                     std::span<const float> found) {
  std::vector<float> bounds(wanted.size());
  RoundingBounds(type, wanted, bounds);
  for (size_t index = 0; index < wanted.size(); ++index) {
    if (!(std::abs(found[index] - wanted[index]) <= bounds[index])) {
      return Fail(ErrorCode::kMismatch,
                  "parity: tensor \"{}\": value {} reads back as {}, {} was written",
                  ingest::HuggingFaceName(id.role, id.layer), index, found[index], wanted[index]);
    }
  }
  return {};
}

Status CheckFolder(const model::Config& config, const model::Vocabulary& vocabulary,
                   const ReadTensor& read, DataType type, const fs::path& folder) {
  ETCH_ASSIGN_OR_RETURN(const auto found, ingest::OpenHuggingFaceModel(folder, {}));
  model::Config expected = config;
  expected.tied_embeddings = found->config().tied_embeddings;  // equal matrices are stored once
  if (found->config() != expected) {
    return Fail(ErrorCode::kMismatch, "parity: config.json does not read back as it was written");
  }
  std::vector<float> wanted;
  std::vector<float> stored;
  for (const TensorId& id : TensorsOf(expected)) {
    wanted.resize(static_cast<size_t>(model::TensorShape(config, id.role).size()));
    stored.resize(wanted.size());
    ETCH_TRY(read(id.role, id.layer, wanted));
    ETCH_TRY(found->Read(id.role, id.layer, stored));
    ETCH_TRY(CompareTensor(id, type, wanted, stored));
  }
  const auto differences = TokenizerDifferences(vocabulary, found->vocabulary());
  if (!differences.empty()) {
    return Fail(ErrorCode::kMismatch, "parity: {}", differences.front());
  }
  return {};
}

Status WriteInto(const model::Config& config, const model::Vocabulary& vocabulary,
                 const ReadTensor& read, DataType type, const TokenizerFiles& tokenizer,
                 const AtomicFolder& folder) {
  ETCH_TRY(folder.Write("config.json", HuggingFaceConfigText(config, vocabulary, type)));
  ETCH_TRY(folder.Write("generation_config.json", TokenIds(vocabulary).dump(2) + "\n"));
  ETCH_TRY(WriteTokenizerFiles(tokenizer, folder));
  ETCH_TRY(WriteWeights(config, read, type, folder.path() / "model.safetensors"));
  return CheckFolder(config, vocabulary, read, type, folder.path());
}

}  // namespace

std::string HuggingFaceConfigText(const model::Config& config, const model::Vocabulary& vocabulary,
                                  formats::DataType type) {
  const bool is_mistral = config.architecture == "mistral";
  Json root = {{"architectures", {is_mistral ? "MistralForCausalLM" : "LlamaForCausalLM"}},
               {"attention_bias", false},
               {"attention_dropout", 0.0}};
  root.update(TokenIds(vocabulary));
  root.update({{"head_dim", config.head_dim},
               {"hidden_act", "silu"},
               {"hidden_size", config.dim},
               {"initializer_range", 0.02},
               {"intermediate_size", config.ffn_dim},
               {"max_position_embeddings", config.context},
               {"mlp_bias", false},
               {"model_type", is_mistral ? "mistral" : "llama"},
               {"num_attention_heads", config.n_heads},
               {"num_hidden_layers", config.n_layers},
               {"num_key_value_heads", config.n_kv_heads},
               {"rms_norm_eps", config.norm_eps},
               {"rope_scaling", RopeJson(config.rope_scaling)},
               {"rope_theta", config.rope_theta}});
  if (is_mistral) {
    root["sliding_window"] = nullptr;
  }
  root.update({{"tie_word_embeddings", config.tied_embeddings},
               {"torch_dtype", TorchName(type)},
               {"use_cache", true},
               {"vocab_size", config.vocab_size}});
  return root.dump(2) + "\n";
}

Status WriteHuggingFaceModel(const model::Config& config, const model::Vocabulary& vocabulary,
                             const ReadTensor& read, const fs::path& path, formats::DataType type,
                             std::vector<std::string>* notes) {
  if (type != DataType::kF32 && type != DataType::kF16 && type != DataType::kBf16) {
    return Fail(ErrorCode::kInvalidArgument, "{} is no type of a safetensors model",
                formats::Traits(type).name);
  }
  ETCH_TRY(model::Validate(config));
  const auto write = [&]() -> Status {
    ETCH_ASSIGN_OR_RETURN(const TokenizerFiles tokenizer,
                          MakeTokenizerFiles(vocabulary, config.context));
    ETCH_ASSIGN_OR_RETURN(AtomicFolder folder, AtomicFolder::Create(path, kFileNames));
    ETCH_TRY(WriteInto(config, vocabulary, read, type, tokenizer, folder));
    ETCH_TRY(folder.Commit());
    if (notes != nullptr) {
      *notes = tokenizer.notes;
    }
    return {};
  };
  Status status = write();
  if (!status && !status.error().message.starts_with(path.string())) {
    return Prefix(path.string(), std::move(status).error());
  }
  return status;
}

}  // namespace etch::exporting
