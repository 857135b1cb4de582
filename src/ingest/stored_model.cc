#include "ingest/stored_model.h"

// A model whose weights are mapped. Reading is one pass from the mapping into the caller's buffer:
// rows that Hugging Face keeps in another order go straight to their place, so nothing is held
// twice. The mapping's pages are given back after each tensor; otherwise compiling a 16 GB model
// would show 16 GB of resident memory, although the system could take it back at any time.

#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "formats/dequantize.h"

namespace etch::ingest {
namespace {

using model::Role;

constexpr uint32_t kExponentBits = 0x7F800000;
constexpr size_t kHashChunk = size_t{16} << 20;

// Index of the first value that is NaN or infinite, or values.size(). The common case is one pass
// that the compiler vectorises.
size_t FindNonFinite(std::span<const float> values) {
  uint32_t any = 0;
  for (const float value : values) {
    const uint32_t exponent = std::bit_cast<uint32_t>(value) & kExponentBits;
    any |= exponent == kExponentBits ? 1U : 0U;
  }
  if (any == 0) {
    return values.size();
  }
  const auto found =
      std::ranges::find_if_not(values, [](float value) { return std::isfinite(value); });
  return static_cast<size_t>(found - values.begin());
}

// llama2.c version 2, §quantize_q80: value i is code i times scale i / group_size.
void DequantizeGroups(const StoredTensor& tensor, std::span<float> out) {
  const auto group_size = static_cast<size_t>(tensor.group_size);
  for (size_t group = 0; group < out.size() / group_size; ++group) {
    const auto scale = LoadLittleEndian<float>(tensor.scales, group * sizeof(float));
    const std::byte* codes = tensor.data.data() + group * group_size;
    float* values = out.data() + group * group_size;
    for (size_t index = 0; index < group_size; ++index) {
      values[index] = static_cast<float>(static_cast<int8_t>(codes[index])) * scale;
    }
  }
}

class StoredModel final : public SourceModel {
 public:
  explicit StoredModel(ModelParts parts) : parts_(std::move(parts)) {
    config_ = parts_.config;
    vocabulary_ = std::move(parts_.vocabulary);
    format_ = parts_.format;
    name_ = parts_.name;
    for (const std::filesystem::path& path : parts_.files) {
      std::error_code error;
      const uint64_t size = std::filesystem::file_size(path, error);
      files_.push_back({path.filename().string(), error ? 0 : size, 0});
    }
  }

  std::vector<SourceTensor> Tensors() const override;
  Status Read(Role role, int64_t layer, std::span<float> out) const override;
  Status HashFiles() override;

 private:
  Status Decode(const StoredTensor& tensor, std::span<float> out) const;

  ModelParts parts_;
};

std::vector<SourceTensor> StoredModel::Tensors() const {
  std::vector<SourceTensor> list;
  for (const auto& [key, tensor] : parts_.tensors) {
    const std::string format = tensor.group_size > 0
                                   ? fmt::format("Q80/{}", tensor.group_size)
                                   : std::string(formats::Traits(tensor.type).name);
    list.push_back({tensor.name, format, tensor.shape, tensor.data.size() + tensor.scales.size()});
  }
  return list;
}

Status StoredModel::Decode(const StoredTensor& tensor, std::span<float> out) const {
  if (tensor.group_size > 0) {
    DequantizeGroups(tensor, out);
    return {};
  }
  if (!tensor.huggingface_rows) {
    return formats::Dequantize(tensor.type, tensor.data, out);
  }
  const auto rows = static_cast<size_t>(tensor.shape[0]);
  const auto cols = static_cast<size_t>(tensor.shape[1]);
  const size_t row_bytes = tensor.data.size() / rows;
  for (size_t row = 0; row < rows; ++row) {
    const int64_t place = model::InterleavedRow(static_cast<int64_t>(row), config_.head_dim);
    ETCH_TRY(formats::Dequantize(tensor.type, tensor.data.subspan(row * row_bytes, row_bytes),
                                 out.subspan(static_cast<size_t>(place) * cols, cols)));
  }
  return {};
}

Status StoredModel::Read(Role role, int64_t layer, std::span<float> out) const {
  const model::Shape shape = model::TensorShape(config_, role);
  const auto found = parts_.tensors.find({role, model::IsPerLayer(role) ? layer : 0});
  ETCH_CHECK(found != parts_.tensors.end(), "the model has no {}", model::TensorName(role, layer));
  ETCH_CHECK(out.size() == static_cast<size_t>(shape.size()), "{} values for {}", out.size(),
             model::TensorName(role, layer));
  const StoredTensor& tensor = found->second;
  ETCH_TRY(Decode(tensor, out));
  const MappedFile& file = parts_.mapped[tensor.file];
  file.Release(tensor.data);
  if (const size_t bad = FindNonFinite(out); bad < out.size()) {
    const auto cols = static_cast<size_t>(shape.cols);
    return Fail(ErrorCode::kMalformed, "{}: row {}, column {} is {}", Where(parts_, tensor),
                bad / cols, bad % cols, std::isnan(out[bad]) ? "not a number" : "infinite");
  }
  return {};
}

Status StoredModel::HashFiles() {
  for (size_t index = 0; index < files_.size(); ++index) {
    ETCH_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(parts_.files[index]));
    XXH3_state_t* state = XXH3_createState();
    ETCH_CHECK(state != nullptr, "out of memory");
    XXH3_64bits_reset(state);
    for (Bytes rest = file.bytes(); !rest.empty();) {
      const Bytes chunk = rest.first(std::min(rest.size(), kHashChunk));
      XXH3_64bits_update(state, chunk.data(), chunk.size());
      file.Release(chunk);
      rest = rest.subspan(chunk.size());
    }
    files_[index].size_bytes = file.bytes().size();
    files_[index].xxh3 = XXH3_64bits_digest(state);
    XXH3_freeState(state);
  }
  return {};
}

Status CheckTensor(const ModelParts& parts, const TensorKey& key, const StoredTensor& tensor) {
  const model::Shape shape = model::TensorShape(parts.config, key.first);
  const std::vector<int64_t> wanted = model::IsNorm(key.first)
                                          ? std::vector<int64_t>{shape.cols}
                                          : std::vector<int64_t>{shape.rows, shape.cols};
  if (tensor.shape != wanted) {
    return Fail(ErrorCode::kMismatch, "{} has the shape {}, the configuration needs {}",
                Where(parts, tensor), fmt::format("[{}]", fmt::join(tensor.shape, ", ")),
                fmt::format("[{}]", fmt::join(wanted, ", ")));
  }
  const formats::DataTypeTraits& traits = formats::Traits(tensor.type);
  if (!traits.readable && tensor.group_size == 0) {
    return Fail(ErrorCode::kUnsupported,
                "{}: type {} is not supported; convert it to F16, BF16, Q8_0 or a K type",
                Where(parts, tensor), traits.name);
  }
  return {};
}

bool SameBytes(Bytes left, Bytes right) {
  return left.size() == right.size() &&
         (left.empty() || std::memcmp(left.data(), right.data(), left.size()) == 0);
}

void DropDoubledHead(ModelParts& parts) {
  const auto head = parts.tensors.find({Role::kHead, 0});
  const auto embedding = parts.tensors.find({Role::kTokenEmbedding, 0});
  if (head == parts.tensors.end() || embedding == parts.tensors.end()) {
    return;
  }
  const StoredTensor& left = head->second;
  const StoredTensor& right = embedding->second;
  if (left.type == right.type && left.shape == right.shape && SameBytes(left.data, right.data) &&
      SameBytes(left.scales, right.scales)) {
    parts.config.tied_embeddings = true;
    parts.tensors.erase(head);
  }
}

}  // namespace

std::vector<TensorKey> RequiredTensors(const model::Config& config) {
  std::vector<TensorKey> keys;
  for (int index = 0; index < model::kRoleCount; ++index) {
    const Role role = static_cast<Role>(index);
    if (role == Role::kHead && config.tied_embeddings) {
      continue;
    }
    const int64_t layers = model::IsPerLayer(role) ? config.n_layers : 1;
    for (int64_t layer = 0; layer < layers; ++layer) {
      keys.emplace_back(role, layer);
    }
  }
  return keys;
}

std::string Where(const ModelParts& parts, const StoredTensor& tensor) {
  const MappedFile& file = parts.mapped[tensor.file];
  return fmt::format("{}: tensor \"{}\" at byte {}", file.path().filename().string(), tensor.name,
                     tensor.data.data() - file.bytes().data());
}

Result<std::unique_ptr<SourceModel>> MakeStoredModel(ModelParts parts) {
  if (auto valid = model::Validate(parts.config); !valid) {
    return Prefix(parts.name, std::move(valid).error());
  }
  for (const TensorKey& key : RequiredTensors(parts.config)) {
    const auto found = parts.tensors.find(key);
    if (found == parts.tensors.end()) {
      return Fail(ErrorCode::kMalformed, "{}: tensor \"{}\" is missing", parts.name,
                  model::TensorName(key.first, key.second));
    }
    ETCH_TRY(CheckTensor(parts, key, found->second));
  }
  if (static_cast<int64_t>(parts.vocabulary.tokens.size()) > parts.config.vocab_size) {
    return Fail(ErrorCode::kMismatch, "{}: the tokenizer has {} tokens, the model only {}",
                parts.name, parts.vocabulary.tokens.size(), parts.config.vocab_size);
  }
  DropDoubledHead(parts);
  return std::make_unique<StoredModel>(std::move(parts));
}

}  // namespace etch::ingest
