#include "ingest/llama2c_model.h"

// The files of llama2.c (export.py, run.c, runq.c):
//
//   legacy     i32 dim, ffn_dim, layers, heads, kv_heads, ±vocabulary, context; then floats:
//              embedding | attention norms | wq | wk | wv | wo | ffn norms | w1 | w2 | w3 |
//              final norm | two tables of context × head_dim / 2 (unused) | head, if the vocabulary
//              is negative
//   version 1  "ak42" as u32, i32 version, the seven i32, u8 tied; padded to 256 bytes; then
//   floats:
//              attention norms | ffn norms | final norm | embedding | wq | wk | wv | wo | w1 | w2 |
//              w3 | head, unless tied
//   version 2  as version 1 with i32 group size after `tied`; norms are floats; each other matrix
//   is
//              its signed bytes, then a float scale a group
//
// Per-layer tensors of one role lie together, layer after layer. There are no names and no offsets,
// so that the size of the file is the only check there is: it has to be exact. The constants that
// run.c has built in, epsilon 1e-5 and theta 10000, are not in the file.

#include <array>
#include <optional>

#include "ingest/stored_model.h"
#include "ingest/tokenizer_file.h"

namespace etch::ingest {
namespace {

using formats::DataType;
using model::Config;
using model::Role;

constexpr uint32_t kMagic = 0x616B3432;  // "ak42"
constexpr size_t kLegacyHeader = 7 * sizeof(int32_t);
constexpr size_t kHeader = 256;

struct Header {
  int version = 0;  // 0: legacy
  Config config;
  int64_t group_size = 0;  // version 2
  size_t size = 0;         // bytes before the weights
};

Config ConfigAt(Bytes file, size_t offset) {
  const auto field = [file, offset](size_t index) -> int64_t {
    return LoadLittleEndian<int32_t>(file, offset + index * sizeof(int32_t));
  };
  Config config;
  config.dim = field(0);
  config.ffn_dim = field(1);
  config.n_layers = field(2);
  config.n_heads = field(3);
  config.n_kv_heads = field(4);
  config.vocab_size = field(5);
  config.context = field(6);
  config.head_dim =
      config.n_heads > 0 && config.dim % config.n_heads == 0 ? config.dim / config.n_heads : 0;
  return config;
}

Config LegacyConfig(Bytes file) {
  Config config = ConfigAt(file, 0);
  config.tied_embeddings = config.vocab_size > 0;
  config.vocab_size = config.vocab_size < 0 ? -config.vocab_size : config.vocab_size;
  return config;
}

bool HasMagic(Bytes file) {
  return file.size() >= sizeof kMagic && LoadLittleEndian<uint32_t>(file, 0) == kMagic;
}

Result<Header> ReadHeader(Bytes file) {
  Header header;
  if (!HasMagic(file)) {
    ETCH_TRY(CheckedRange(file, 0, kLegacyHeader, "header"));
    header.config = LegacyConfig(file);
    header.size = kLegacyHeader;
  } else {
    ETCH_TRY(CheckedRange(file, 0, kHeader, "header"));
    header.version = LoadLittleEndian<int32_t>(file, 4);
    if (header.version != 1 && header.version != 2) {
      return Fail(ErrorCode::kUnsupported,
                  "llama2.c version {} is not supported; supported are legacy, 1 and 2",
                  header.version);
    }
    header.config = ConfigAt(file, 8);
    const auto tied = LoadLittleEndian<uint8_t>(file, 36);
    if (tied > 1) {
      return Fail(ErrorCode::kMalformed, "byte 36, whether the head is tied, is {}", tied);
    }
    header.config.tied_embeddings = tied == 1;
    header.size = kHeader;
    if (header.version == 2) {
      header.group_size = LoadLittleEndian<int32_t>(file, 37);
      if (header.group_size < 1) {
        return Fail(ErrorCode::kMalformed, "group size {} at byte 37", header.group_size);
      }
    }
  }
  ETCH_TRY(model::Validate(header.config));
  return header;
}

constexpr std::array<Role, 12> kLegacyOrder = {Role::kTokenEmbedding,
                                               Role::kAttentionNorm,
                                               Role::kWq,
                                               Role::kWk,
                                               Role::kWv,
                                               Role::kWo,
                                               Role::kFfnNorm,
                                               Role::kGate,
                                               Role::kDown,
                                               Role::kUp,
                                               Role::kFinalNorm,
                                               Role::kHead};
constexpr std::array<Role, 12> kOrder = {Role::kAttentionNorm,
                                         Role::kFfnNorm,
                                         Role::kFinalNorm,
                                         Role::kTokenEmbedding,
                                         Role::kWq,
                                         Role::kWk,
                                         Role::kWv,
                                         Role::kWo,
                                         Role::kGate,
                                         Role::kDown,
                                         Role::kUp,
                                         Role::kHead};

// Cuts the file into tensors, front to back. Sizes cannot overflow: Validate() bounded every
// factor.
class Cutter {
 public:
  Cutter(Bytes file, const Header& header, ModelParts& parts)
      : file_(file), header_(header), parts_(parts), position_(header.size) {}

  Status Cut() {
    for (const Role role : header_.version == 0 ? kLegacyOrder : kOrder) {
      if (role == Role::kHead) {
        SkipTables();
        if (header_.config.tied_embeddings) {
          continue;
        }
      }
      const int64_t layers = model::IsPerLayer(role) ? header_.config.n_layers : 1;
      for (int64_t layer = 0; layer < layers; ++layer) {
        ETCH_TRY(Add(role, layer));
      }
    }
    if (position_ != file_.size()) {
      return Fail(ErrorCode::kMalformed, "its header needs {} bytes, the file has {}", position_,
                  file_.size());
    }
    return {};
  }

 private:
  void SkipTables() {
    if (header_.version == 0) {
      position_ +=
          static_cast<uint64_t>(header_.config.context * header_.config.head_dim) * sizeof(float);
    }
  }

  Result<Bytes> Take(uint64_t size, const std::string& name) {
    ETCH_ASSIGN_OR_RETURN(const Bytes data,
                          CheckedRange(file_, position_, size, fmt::format("tensor \"{}\"", name)));
    position_ += size;
    return data;
  }

  Status Add(Role role, int64_t layer) {
    const model::Shape shape = model::TensorShape(header_.config, role);
    const auto size = static_cast<uint64_t>(shape.size());
    StoredTensor tensor{
        .name = model::TensorName(role, layer), .shape = {}, .data = {}, .scales = {}};
    if (model::IsNorm(role)) {
      tensor.shape = {shape.cols};
    } else {
      tensor.shape = {shape.rows, shape.cols};
    }
    if (header_.version == 2 && !model::IsNorm(role)) {
      const auto group_size = static_cast<uint64_t>(header_.group_size);
      if (size % group_size != 0) {
        return Fail(ErrorCode::kMalformed, "tensor \"{}\": {} values are no whole groups of {}",
                    tensor.name, size, group_size);
      }
      tensor.type = DataType::kI8;
      tensor.group_size = header_.group_size;
      ETCH_ASSIGN_OR_RETURN(tensor.data, Take(size, tensor.name));
      ETCH_ASSIGN_OR_RETURN(tensor.scales, Take(size / group_size * sizeof(float), tensor.name));
    } else {
      ETCH_ASSIGN_OR_RETURN(tensor.data, Take(size * sizeof(float), tensor.name));
    }
    parts_.tensors.emplace(TensorKey{role, layer}, std::move(tensor));
    return {};
  }

  Bytes file_;
  const Header& header_;
  ModelParts& parts_;
  uint64_t position_;
};

Result<std::filesystem::path> FindTokenizer(const std::filesystem::path& path, int64_t vocab_size) {
  const std::string sized = fmt::format("tok{}.bin", vocab_size);
  for (const std::string& name :
       {sized, std::string("tokenizer.bin"), std::string("tokenizer.model")}) {
    const std::filesystem::path candidate = path.parent_path() / name;
    std::error_code error;
    if (std::filesystem::exists(candidate, error)) {
      return candidate;
    }
  }
  return Fail(ErrorCode::kNotFound,
              "{}: no {}, tokenizer.bin or tokenizer.model beside it; name the tokenizer's file",
              path.filename().string(), sized);
}

Result<ModelParts> ReadParts(Bytes file) {
  ETCH_ASSIGN_OR_RETURN(const Header header, ReadHeader(file));
  ModelParts parts;
  parts.config = header.config;
  parts.format =
      header.version == 0 ? "llama2.c legacy" : fmt::format("llama2.c v{}", header.version);
  ETCH_TRY(Cutter(file, header, parts).Cut());
  return parts;
}

}  // namespace

bool LooksLikeLlama2c(Bytes file) {
  if (HasMagic(file)) {
    return true;
  }
  return file.size() >= kLegacyHeader && model::Validate(LegacyConfig(file)).has_value();
}

Result<std::unique_ptr<SourceModel>> OpenLlama2cModel(const std::filesystem::path& path,
                                                      const std::filesystem::path& tokenizer) {
  ETCH_ASSIGN_OR_RETURN(MappedFile file, MappedFile::Open(path));
  Result<ModelParts> parts = ReadParts(file.bytes());
  if (!parts) {
    return Prefix(path.filename().string(), std::move(parts).error());
  }
  std::filesystem::path tokenizer_path = tokenizer;
  if (tokenizer_path.empty()) {
    ETCH_ASSIGN_OR_RETURN(tokenizer_path, FindTokenizer(path, parts->config.vocab_size));
  }
  ETCH_ASSIGN_OR_RETURN(parts->vocabulary,
                        ReadTokenizerFile(tokenizer_path, parts->config.vocab_size, {}));
  parts->name = path.stem().string();
  parts->files = {path, tokenizer_path};
  parts->mapped.push_back(std::move(file));
  return MakeStoredModel(std::move(*parts));
}

}  // namespace etch::ingest
