#include "ingest/huggingface_model.h"

// Which files make the model: the shards that model.safetensors.index.json names, or
// model.safetensors, or the only .safetensors there is. Every tensor has to be one that a Llama
// has: a stray bias or a LoRA left in the file would otherwise be dropped without a word. The index
// is checked against the shards both ways, since a wrong index means that a download is incomplete.
//
// The tokenizer is tokenizer.json where there is one, else tokenizer.model. What ends an answer is
// spread over three files (eos_token of the tokenizer, eos_token_id of config.json and of
// generation_config.json) and joined here. chat_template.jinja beats the template in
// tokenizer_config.json, as in transformers.

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "formats/safetensors.h"
#include "ingest/huggingface_config.h"
#include "ingest/stored_model.h"
#include "ingest/tokenizer_file.h"

namespace etch::ingest {
namespace {

namespace fs = std::filesystem;
using formats::SafetensorsEntry;
using formats::SafetensorsFile;
using model::Role;
using nlohmann::json;

constexpr uint64_t kMaxTextBytes = 64U << 20;
constexpr std::string_view kIndexName = "model.safetensors.index.json";

bool Exists(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

// The model under construction and the directory it comes from.
struct Directory {
  fs::path folder;
  fs::path only_shard;  // the file that was named, if one was
  ModelParts parts;
  std::vector<SafetensorsFile> shards;
  std::map<std::string, std::pair<size_t, const SafetensorsEntry*>, std::less<>> entries;
};

// The text of a file that belongs to the model, which becomes part of the provenance.
Result<std::string> ReadText(Directory& directory, const std::string& name) {
  directory.parts.files.push_back(directory.folder / name);
  return ReadSmallFile(directory.folder / name, kMaxTextBytes);
}

Result<json> ParseObject(const std::string& text, std::string_view name) {
  json root = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!root.is_object()) {
    return Fail(ErrorCode::kMalformed, "{}: is not a JSON object", name);
  }
  return root;
}

// The text of a file that need not be there; an empty object then.
Result<std::string> ReadOptional(Directory& directory, const std::string& name) {
  if (!Exists(directory.folder / name)) {
    return std::string("{}");
  }
  return ReadText(directory, name);
}

// A file name without any folder: an index must not reach outside of its directory.
bool IsPlainName(const std::string& name) {
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos;
}

// Tensor name to shard, from the index.
Result<std::map<std::string, std::string>> ReadIndex(Directory& directory) {
  std::map<std::string, std::string> shard_of;
  ETCH_ASSIGN_OR_RETURN(const std::string text, ReadText(directory, std::string(kIndexName)));
  ETCH_ASSIGN_OR_RETURN(const json root, ParseObject(text, kIndexName));
  const auto map = root.find("weight_map");
  if (map == root.end() || !map->is_object() || map->empty()) {
    return Fail(ErrorCode::kMalformed, "{}: weight_map is missing or empty", kIndexName);
  }
  for (const auto& [tensor, shard] : map->items()) {
    if (!shard.is_string() || !IsPlainName(shard.get<std::string>())) {
      return Fail(ErrorCode::kMalformed, "{}: the file of \"{}\" is not a plain name", kIndexName,
                  tensor);
    }
    shard_of.emplace(tensor, shard.get<std::string>());
  }
  return shard_of;
}

// Names of the files with weights, when there is no index.
Result<std::vector<std::string>> FindShards(const Directory& directory) {
  if (!directory.only_shard.empty()) {
    return std::vector{directory.only_shard.filename().string()};
  }
  if (Exists(directory.folder / "model.safetensors")) {
    return std::vector<std::string>{"model.safetensors"};
  }
  std::vector<std::string> found;
  std::string pickle;
  std::error_code error;
  for (auto entry = fs::directory_iterator(directory.folder, error);
       !error && entry != fs::directory_iterator(); entry.increment(error)) {
    const fs::path& path = entry->path();
    if (path.extension() == ".safetensors") {
      found.push_back(path.filename().string());
    }
    if (path.filename().string().starts_with("pytorch_model") || path.extension() == ".pth") {
      pickle = path.filename().string();
    }
  }
  if (found.size() == 1) {
    return found;
  }
  if (found.empty() && !pickle.empty()) {
    return Fail(ErrorCode::kUnsupported,
                "{}: is a pickle, which can run code when it is loaded; convert it to safetensors",
                pickle);
  }
  return Fail(ErrorCode::kNotFound, "{}: {}", directory.folder.string(),
              found.empty()
                  ? "holds no .safetensors file"
                  : fmt::format("holds several .safetensors files, but no {}", kIndexName));
}

Status OpenShards(Directory& directory) {
  std::map<std::string, std::string> shard_of;
  std::vector<std::string> names;
  if (Exists(directory.folder / kIndexName)) {
    ETCH_ASSIGN_OR_RETURN(shard_of, ReadIndex(directory));
    std::set<std::string> distinct;
    for (const auto& [tensor, shard] : shard_of) {
      distinct.insert(shard);
    }
    names.assign(distinct.begin(), distinct.end());
  } else {
    ETCH_ASSIGN_OR_RETURN(names, FindShards(directory));
  }
  for (const std::string& name : names) {
    ETCH_ASSIGN_OR_RETURN(SafetensorsFile shard, SafetensorsFile::Open(directory.folder / name));
    directory.parts.files.push_back(directory.folder / name);
    directory.shards.push_back(std::move(shard));
  }
  for (size_t index = 0; index < directory.shards.size(); ++index) {
    for (const SafetensorsEntry& entry : directory.shards[index].tensors()) {
      const auto [other, inserted] =
          directory.entries.emplace(entry.name, std::pair(index, &entry));
      if (!inserted) {
        return Fail(ErrorCode::kMalformed, "tensor \"{}\" is both in {} and {}", entry.name,
                    names[other->second.first], names[index]);
      }
    }
  }
  for (const auto& [tensor, shard] : shard_of) {
    const auto found = directory.entries.find(tensor);
    if (found == directory.entries.end() || names[found->second.first] != shard) {
      return Fail(ErrorCode::kMalformed, "{}: tensor \"{}\" is missing, {} says that it has it",
                  shard, tensor, kIndexName);
    }
  }
  return {};
}

// Tensors that carry no weights of the model: tables of old checkpoints, and a head beside the
// embedding that it is tied to.
bool IsRedundant(std::string_view name, const model::Config& config) {
  return name.ends_with(".rotary_emb.inv_freq") ||
         (config.tied_embeddings && name == HuggingFaceName(Role::kHead, 0));
}

Status MapTensors(Directory& directory) {
  ModelParts& parts = directory.parts;
  const auto file_name = [&directory](size_t shard) {
    return directory.shards[shard].file().path().filename().string();
  };
  for (const TensorKey& key : RequiredTensors(parts.config)) {
    const std::string name = HuggingFaceName(key.first, key.second);
    const auto found = directory.entries.find(name);
    if (found == directory.entries.end()) {
      return Fail(ErrorCode::kMalformed, "{}: tensor \"{}\" is missing{}",
                  directory.shards.size() == 1 ? file_name(0) : std::string(kIndexName), name,
                  key.first == Role::kHead ? " and tie_word_embeddings is not true" : "");
    }
    const auto& [shard, entry] = found->second;
    parts.tensors.emplace(
        key, StoredTensor{.name = name,
                          .type = entry->type,
                          .shape = entry->shape,
                          .data = directory.shards[shard].Data(*entry),
                          .file = shard,
                          .huggingface_rows = key.first == Role::kWq || key.first == Role::kWk,
                          .scales = {}});
    directory.entries.erase(found);
  }
  for (const auto& [name, place] : directory.entries) {
    if (!IsRedundant(name, parts.config)) {
      return Fail(ErrorCode::kUnsupported,
                  "{}: tensor \"{}\" at byte {} has no place in a Llama model (biases and adapters "
                  "are not supported)",
                  file_name(place.first), name, place.second->offset);
    }
  }
  for (SafetensorsFile& shard : directory.shards) {
    parts.mapped.push_back(std::move(shard).TakeFile());
  }
  return {};
}

Status AddEndId(const json& id, const char* file, int64_t vocab_size,
                std::vector<model::TokenId>& ids) {
  if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() >= vocab_size) {
    return Fail(ErrorCode::kMalformed, "{}: eos_token_id {} is no token of {}", file,
                id.is_number() ? id.dump() : id.type_name(), vocab_size);
  }
  ids.push_back(id.get<model::TokenId>());
  return {};
}

// Adds `eos_token_id` of a configuration, an id or a list of them. Untrusted JSON is only looked
// at, never copied or printed as a whole: that would recurse as deep as it nests.
Status AddEndIds(const json& root, const char* file, int64_t vocab_size,
                 std::vector<model::TokenId>& ids) {
  const auto found = root.find("eos_token_id");
  if (found == root.end() || found->is_null()) {
    return {};
  }
  if (!found->is_array()) {
    return AddEndId(*found, file, vocab_size, ids);
  }
  for (const json& id : *found) {
    ETCH_TRY(AddEndId(id, file, vocab_size, ids));
  }
  return {};
}

bool IsDefaultTemplate(const json& entry) {
  if (!entry.is_object() || !entry.contains("name") || !entry.contains("template")) {
    return false;
  }
  const json& name = entry["name"];
  return name.is_string() && name.get<std::string>() == "default" && entry["template"].is_string();
}

// `chat_template` of tokenizer_config.json: a text, or a list of named texts with a "default".
Result<std::string> TemplateFromConfig(const json& tokenizer_config) {
  const auto found = tokenizer_config.find("chat_template");
  if (found == tokenizer_config.end() || found->is_null()) {
    return std::string();
  }
  if (found->is_string()) {
    return found->get<std::string>();
  }
  if (found->is_array()) {
    for (const json& entry : *found) {
      if (IsDefaultTemplate(entry)) {
        return entry["template"].get<std::string>();
      }
    }
  }
  return Fail(ErrorCode::kMalformed,
              "tokenizer_config.json: chat_template is neither a text nor a list with a default");
}

Status ReadTokenizer(Directory& directory, const fs::path& tokenizer, const json& config) {
  ModelParts& parts = directory.parts;
  fs::path path = tokenizer;
  for (const char* name : {"tokenizer.json", "tokenizer.model"}) {
    if (path.empty() && Exists(directory.folder / name)) {
      path = directory.folder / name;
    }
  }
  if (path.empty()) {
    return Fail(ErrorCode::kNotFound,
                "{}: holds neither tokenizer.json nor tokenizer.model; name the tokenizer's file",
                directory.folder.string());
  }
  ETCH_ASSIGN_OR_RETURN(const std::string text, ReadOptional(directory, "tokenizer_config.json"));
  ETCH_ASSIGN_OR_RETURN(const json tokenizer_config, ParseObject(text, "tokenizer_config.json"));
  ETCH_ASSIGN_OR_RETURN(parts.vocabulary, ReadTokenizerFile(path, parts.config.vocab_size,
                                                            tokenizer_config.empty() ? "" : text));
  parts.files.push_back(path);
  if (Exists(directory.folder / "chat_template.jinja")) {
    ETCH_ASSIGN_OR_RETURN(parts.vocabulary.chat_template,
                          ReadText(directory, "chat_template.jinja"));
  } else {
    ETCH_ASSIGN_OR_RETURN(parts.vocabulary.chat_template, TemplateFromConfig(tokenizer_config));
  }
  std::vector<model::TokenId>& ids = parts.vocabulary.end_of_generation;
  ETCH_TRY(AddEndIds(config, "config.json", parts.config.vocab_size, ids));
  ETCH_ASSIGN_OR_RETURN(const std::string generation_text,
                        ReadOptional(directory, "generation_config.json"));
  ETCH_ASSIGN_OR_RETURN(const json generation,
                        ParseObject(generation_text, "generation_config.json"));
  ETCH_TRY(AddEndIds(generation, "generation_config.json", parts.config.vocab_size, ids));
  std::ranges::sort(ids);
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return {};
}

Status ReadDirectory(Directory& directory, const fs::path& tokenizer) {
  ETCH_ASSIGN_OR_RETURN(const std::string text, ReadText(directory, "config.json"));
  Result<model::Config> config = ReadHuggingFaceConfig(text);
  if (!config) {
    return Prefix("config.json", std::move(config).error());
  }
  directory.parts.config = *config;
  ETCH_TRY(OpenShards(directory));
  ETCH_TRY(MapTensors(directory));
  return ReadTokenizer(directory, tokenizer, json::parse(text, nullptr, false));
}

}  // namespace

std::string HuggingFaceName(Role role, int64_t layer) {
  switch (role) {
    case Role::kTokenEmbedding:
      return "model.embed_tokens.weight";
    case Role::kHead:
      return "lm_head.weight";
    case Role::kFinalNorm:
      return "model.norm.weight";
    case Role::kAttentionNorm:
      return fmt::format("model.layers.{}.input_layernorm.weight", layer);
    case Role::kFfnNorm:
      return fmt::format("model.layers.{}.post_attention_layernorm.weight", layer);
    default:
      return fmt::format("model.layers.{}.{}.weight", layer, model::HuggingFaceModule(role));
  }
}

Result<std::unique_ptr<SourceModel>> OpenHuggingFaceModel(const fs::path& path,
                                                          const fs::path& tokenizer) {
  std::error_code error;
  Directory directory;
  if (fs::is_directory(path, error)) {
    directory.folder = path;
  } else {
    directory.folder = path.parent_path();
    directory.only_shard = path;
  }
  if (!Exists(directory.folder / "config.json")) {
    return Fail(ErrorCode::kNotFound, "{}: there is no config.json {}", path.string(),
                directory.only_shard.empty() ? "in it" : "beside it");
  }
  ETCH_TRY(ReadDirectory(directory, tokenizer));
  // "models/SmolLM-135M/" ends in an empty component.
  const fs::path absolute = fs::absolute(directory.folder, error).lexically_normal();
  directory.parts.name = absolute.has_filename() ? absolute.filename().string()
                                                 : absolute.parent_path().filename().string();
  directory.parts.format = "safetensors";
  return MakeStoredModel(std::move(directory.parts));
}

}  // namespace etch::ingest
