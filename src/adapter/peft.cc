// PEFT directories: adapter_config.json beside adapter_model.safetensors, read and written.
//
//   base_model.model.model.layers.3.self_attn.q_proj.lora_A.weight   (r, in)
//   base_model.model.model.layers.3.self_attn.q_proj.lora_B.weight   (out, r)
//
// The first two parts are there in every file that PEFT writes and missing in some that others do;
// the third is missing when the base was a bare LlamaModel. Rows of B of q_proj and k_proj stand in
// Hugging Face's order (halves of a head apart) and move to Etch's (pairs adjacent); A meets the
// layer's input and never moves. Only the two file names are opened: a path inside the config
// (base_model_name_or_path) is a label.
//
// A written config states the commonest rank and alpha and puts the others into rank_pattern and
// alpha_pattern under whole module names, which every version of PEFT matches alike.

#include <fcntl.h>   // AT_FDCWD
#include <stdio.h>   // renameat2
#include <unistd.h>  // getpid

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <system_error>

#include "adapter/adapter.h"
#include "adapter/pairs.h"
#include "adapter/peft_config.h"
#include "base/file.h"
#include "formats/safetensors.h"

namespace etch::adapter {
namespace internal {
namespace {

namespace fs = std::filesystem;

constexpr const char* kConfigName = "adapter_config.json";
constexpr const char* kTensorsName = "adapter_model.safetensors";
constexpr const char* kPickleName = "adapter_model.bin";
constexpr const char* kMlxName = "adapters.safetensors";
constexpr uint64_t kMaxConfigBytes = 4 << 20;
constexpr std::string_view kPrefix = "base_model.model.";
constexpr std::string_view kSuffixA = ".lora_A.weight";
constexpr std::string_view kSuffixB = ".lora_B.weight";

bool TakePrefix(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) {
    return false;
  }
  text.remove_prefix(prefix.size());
  return true;
}

bool Contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

// "model.layers.3.self_attn.q_proj" of a half's name.
std::string_view ModuleOf(std::string_view name) {
  TakePrefix(name, kPrefix);
  return name.substr(0, name.size() - kSuffixA.size());
}

// What stands in the file and is no half of a pair.
tl::unexpected<Error> RefuseTensor(std::string_view name) {
  if (Contains(name, "lora_magnitude_vector")) {
    return Fail(ErrorCode::kUnsupported, "tensor \"{}\": DoRA is not supported", name);
  }
  if (Contains(name, "lora_embedding_")) {
    return Fail(ErrorCode::kUnsupported,
                "tensor \"{}\": an adapter of the embedding is not supported", name);
  }
  if (name.ends_with(".lora_B.bias")) {
    return Fail(ErrorCode::kUnsupported, "tensor \"{}\": lora_bias is not supported", name);
  }
  if (name.ends_with(".lora_a") || name.ends_with(".lora_b")) {
    return Fail(ErrorCode::kUnsupported,
                "tensor \"{}\" is named as MLX does, which keeps A and B transposed; convert the "
                "adapter to PEFT",
                name);
  }
  return Fail(ErrorCode::kUnsupported,
              "tensor \"{}\" is no half of a LoRA pair; full weights (modules_to_save) are not "
              "supported",
              name);
}

// Role and layer of the module that a half stands on.
Result<std::pair<model::Role, int64_t>> ParseModule(std::string_view name) {
  std::string_view rest = ModuleOf(name);
  if (rest.ends_with("lm_head") || rest.ends_with("embed_tokens")) {
    return Fail(ErrorCode::kUnsupported,
                "tensor \"{}\": an adapter of the {} is not supported, only of the seven linear "
                "layers of a block",
                name, rest.ends_with("lm_head") ? "head (lm_head)" : "embedding (embed_tokens)");
  }
  TakePrefix(rest, "model.");
  if (TakePrefix(rest, "layers.")) {
    const int64_t layer = TakeLayer(rest);
    if (layer >= 0 && TakePrefix(rest, ".")) {
      for (const model::Role role : model::kBlockLinears) {
        if (rest == model::HuggingFaceModule(role)) {
          return std::pair(role, layer);
        }
      }
    }
  }
  return Fail(ErrorCode::kUnsupported, "tensor \"{}\": the Llama family has no linear layer \"{}\"",
              name, ModuleOf(name));
}

Result<Half> ParseHalf(const formats::SafetensorsEntry& entry, Bytes file) {
  const bool is_b = entry.name.ends_with(kSuffixB);
  if (!is_b && !entry.name.ends_with(kSuffixA)) {
    return RefuseTensor(entry.name);
  }
  Half half;
  ETCH_ASSIGN_OR_RETURN(const auto place, ParseModule(entry.name));
  if (entry.shape.size() != 2) {
    return Fail(ErrorCode::kMalformed, "tensor \"{}\" has {} dimensions instead of 2", entry.name,
                entry.shape.size());
  }
  half.role = place.first;
  half.layer = place.second;
  half.is_b = is_b;
  half.name = entry.name;
  half.type = entry.type;
  half.rows = entry.shape[0];
  half.cols = entry.shape[1];
  half.data = file.subspan(entry.offset, entry.size_bytes);
  return half;
}

// The pattern's rank or alpha for a module, or the config's.
Result<double> Scaling(const PeftConfig& config, const Half& a) {
  const std::string_view module = ModuleOf(a.name);
  ETCH_ASSIGN_OR_RETURN(const auto pattern_rank, config.rank_pattern.Find(module));
  ETCH_ASSIGN_OR_RETURN(const auto pattern_alpha, config.alpha_pattern.Find(module));
  const auto rank = pattern_rank ? static_cast<int64_t>(*pattern_rank) : config.rank;
  if (a.rank() != rank) {
    return Fail(ErrorCode::kMalformed, "tensor \"{}\" has rank {}, {} says {}", a.name, a.rank(),
                kConfigName, rank);
  }
  const auto divisor = static_cast<double>(rank);
  return pattern_alpha.value_or(config.alpha) /
         (config.rank_stabilised ? std::sqrt(divisor) : divisor);
}

bool Exists(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

Status CheckFiles(const fs::path& folder) {
  if (Exists(folder / kTensorsName)) {
    return {};
  }
  if (Exists(folder / kPickleName)) {
    return Fail(ErrorCode::kUnsupported,
                "{} is a pickle, which can run code when it is loaded; convert it to {}",
                kPickleName, kTensorsName);
  }
  if (Exists(folder / kMlxName)) {
    return Fail(ErrorCode::kUnsupported,
                "{} is an MLX adapter, which keeps A and B transposed under other names; convert "
                "it to PEFT",
                kMlxName);
  }
  return Fail(ErrorCode::kNotFound, "holds no {}", kTensorsName);
}

}  // namespace

Result<Adapter> ParsePeft(std::string_view config_text, Bytes tensors,
                          const model::Config& config) {
  ETCH_ASSIGN_OR_RETURN(const AdapterPlan plan, PlanPeft(config_text, tensors, config));
  return Decode(plan, config);
}

Result<AdapterPlan> PlanPeft(std::string_view config_text, Bytes tensors,
                             const model::Config& config) {
  ETCH_ASSIGN_OR_RETURN(const PeftConfig peft, ParsePeftConfig(config_text));
  ETCH_ASSIGN_OR_RETURN(const formats::SafetensorsHeader header,
                        formats::ParseSafetensors(tensors, kTensorsName));
  std::vector<Half> halves;
  for (const formats::SafetensorsEntry& entry : header.tensors) {
    ETCH_ASSIGN_OR_RETURN(Half half, ParseHalf(entry, tensors));
    halves.push_back(std::move(half));
  }
  AdapterPlan plan;
  plan.head.format = "PEFT";
  plan.head.base_model = peft.base_model;
  plan.huggingface_rows = true;
  ETCH_ASSIGN_OR_RETURN(plan.pairs, JoinHalves(std::move(halves), config, [&peft](const Half& a) {
                          return Scaling(peft, a);
                        }));
  return plan;
}

Result<int64_t> GlanceAtPeft(const fs::path& path) {
  ETCH_ASSIGN_OR_RETURN(const std::string text, ReadSmallFile(path / kConfigName, kMaxConfigBytes));
  const Result<PeftConfig> peft = ParsePeftConfig(text);
  if (!peft) {
    return Prefix(path.string(), peft.error());
  }
  if (Status files = CheckFiles(path); !files) {
    return Prefix(path.string(), std::move(files).error());
  }
  std::ifstream file(path / kTensorsName, std::ios::binary | std::ios::ate);
  const auto size_bytes = static_cast<int64_t>(file.tellg());
  std::array<char, 8> length{};
  file.seekg(0);
  file.read(length.data(), length.size());
  const uint64_t header =
      file ? LoadLittleEndian<uint64_t>(std::as_bytes(std::span(length)), 0) : uint64_t{0};
  if (header == 0 || header > static_cast<uint64_t>(size_bytes) - length.size()) {
    return Fail(ErrorCode::kMalformed, "{}: {} is cut off or no safetensors file", path.string(),
                kTensorsName);
  }
  return peft->rank;
}

Result<OpenAdapter> OpenPeft(const fs::path& path, const model::Config& config) {
  // The config first: an MLX adapter or DoRA is called by its name whatever else is missing.
  ETCH_ASSIGN_OR_RETURN(const std::string text, ReadSmallFile(path / kConfigName, kMaxConfigBytes));
  if (Result<PeftConfig> peft = ParsePeftConfig(text); !peft) {
    return Prefix(path.string(), std::move(peft).error());
  }
  if (Status files = CheckFiles(path); !files) {
    return Prefix(path.string(), std::move(files).error());
  }
  ETCH_ASSIGN_OR_RETURN(MappedFile tensors, MappedFile::Open(path / kTensorsName));
  Result<AdapterPlan> plan = PlanPeft(text, tensors.bytes(), config);
  if (!plan) {
    return Prefix(path.string(), std::move(plan).error());
  }
  return OpenAdapter{std::move(tensors), std::move(*plan)};
}

}  // namespace internal

namespace {

namespace fs = std::filesystem;
using internal::kConfigName;
using internal::kTensorsName;
using nlohmann::ordered_json;

std::string ModuleName(const LoraPair& pair) {
  return fmt::format("model.layers.{}.{}", pair.layer, model::HuggingFaceModule(pair.role));
}

// The alpha with which alpha / rank is the pair's scaling: an integer where there is one.
double AlphaOf(const LoraPair& pair) {
  const auto rank = static_cast<double>(pair.rank);
  const double alpha = pair.scaling * rank;
  const double whole = std::round(alpha);
  for (const double candidate :
       {whole, alpha, std::nextafter(alpha, HUGE_VAL), std::nextafter(alpha, -HUGE_VAL)}) {
    if (candidate / rank == pair.scaling) {
      return candidate;
    }
  }
  return alpha;
}

ordered_json AlphaJson(double alpha) {
  // PEFT declares lora_alpha as an integer; whole numbers are written as such.
  if (alpha == std::round(alpha) && std::abs(alpha) < 1e15) {
    return static_cast<int64_t>(alpha);
  }
  return alpha;
}

// The value that most pairs have; the lowest among equals.
template <class T, class Of>
T Commonest(const std::vector<LoraPair>& pairs, Of of) {
  std::map<T, int64_t> counts;
  for (const LoraPair& pair : pairs) {
    ++counts[of(pair)];
  }
  const auto fewer = [](const auto& left, const auto& right) { return left.second < right.second; };
  return std::max_element(counts.begin(), counts.end(), fewer)->first;
}

std::string ConfigText(const Adapter& adapter) {
  const auto rank_of = [](const LoraPair& pair) { return pair.rank; };
  const auto rank = Commonest<int64_t>(adapter.pairs, rank_of);
  const auto alpha = Commonest<double>(adapter.pairs, AlphaOf);
  ordered_json rank_pattern = ordered_json::object();
  ordered_json alpha_pattern = ordered_json::object();
  std::array<bool, model::kRoleCount> used = {};
  for (const LoraPair& pair : adapter.pairs) {
    used[static_cast<size_t>(pair.role)] = true;
    if (pair.rank != rank) {
      rank_pattern[ModuleName(pair)] = pair.rank;
    }
    if (AlphaOf(pair) != alpha) {
      alpha_pattern[ModuleName(pair)] = AlphaJson(AlphaOf(pair));
    }
  }
  ordered_json targets = ordered_json::array();
  for (const model::Role role : model::kBlockLinears) {
    if (used[static_cast<size_t>(role)]) {
      const std::string_view module = model::HuggingFaceModule(role);
      targets.push_back(module.substr(module.find('.') + 1));
    }
  }
  ordered_json root = {{"alpha_pattern", alpha_pattern},
                       {"base_model_name_or_path", nullptr},
                       {"bias", "none"},
                       {"fan_in_fan_out", false},
                       {"inference_mode", true},
                       {"init_lora_weights", true},
                       {"lora_alpha", AlphaJson(alpha)},
                       {"lora_dropout", 0.0},
                       {"modules_to_save", nullptr},
                       {"peft_type", "LORA"},
                       {"r", rank},
                       {"rank_pattern", rank_pattern},
                       {"target_modules", targets},
                       {"task_type", "CAUSAL_LM"},
                       {"use_dora", false},
                       {"use_rslora", false}};
  if (!adapter.base_model.empty()) {
    root["base_model_name_or_path"] = adapter.base_model;
  }
  return root.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

Status WriteFiles(const Adapter& adapter, const model::Config& config, const fs::path& folder) {
  std::vector<std::vector<float>> rows;
  rows.reserve(adapter.pairs.size());
  std::vector<formats::SafetensorsSource> sources;
  for (const LoraPair& pair : adapter.pairs) {
    const std::string name = fmt::format("{}{}", internal::kPrefix, ModuleName(pair));
    rows.push_back(internal::ReorderRows(pair, config.head_dim, /*to_etch=*/false));
    sources.push_back({fmt::format("{}{}", name, internal::kSuffixA),
                       formats::DataType::kF32,
                       {pair.rank, pair.cols},
                       pair.a});
    sources.push_back({fmt::format("{}{}", name, internal::kSuffixB),
                       formats::DataType::kF32,
                       {pair.rows, pair.rank},
                       rows.back()});
  }
  ETCH_TRY(formats::WriteSafetensors(folder / kTensorsName, sources, {{"format", "pt"}}));
  return WriteFileAtomically(folder / kConfigName, AsBytes(ConfigText(adapter)));
}

// kInvalidArgument when the folder holds a file that this writer does not write: it is replaced as
// a whole.
Status CheckReplaceable(const fs::path& path) {
  std::error_code error;
  const fs::file_status status = fs::symlink_status(path, error);
  if (!fs::exists(status)) {
    return {};
  }
  if (!fs::is_directory(status)) {
    return Fail(ErrorCode::kInvalidArgument, "{}: exists and is not a directory", path.string());
  }
  for (auto entry = fs::directory_iterator(path, error);
       !error && entry != fs::directory_iterator(); entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (name != kConfigName && name != kTensorsName) {
      return Fail(ErrorCode::kInvalidArgument,
                  "{}: holds \"{}\", which would be lost; choose a folder of its own",
                  path.string(), name);
    }
  }
  return {};
}

// Puts the folder `finished` under `path`, whatever adapter was there before.
Status Exchange(const fs::path& finished, const fs::path& path) {
  if (::rename(finished.c_str(), path.c_str()) == 0) {
    return {};
  }
  // Occupied: the two change places in one step, and the old one is the caller's to remove.
  if (::renameat2(AT_FDCWD, finished.c_str(), AT_FDCWD, path.c_str(), RENAME_EXCHANGE) == 0) {
    return {};
  }
  const std::error_code error(errno, std::generic_category());
  return Fail(ErrorCode::kIo, "{}: cannot create: {}", path.string(), error.message());
}

}  // namespace

Status WritePeft(const Adapter& adapter, const model::Config& config, const fs::path& path) {
  ETCH_TRY(internal::CheckComplete(adapter, config));
  const fs::path target = path.has_filename() ? path : path.parent_path();
  ETCH_TRY(CheckReplaceable(target));
  static std::atomic<uint64_t> counter = 0;
  fs::path temporary = target;
  temporary += fmt::format(".tmp-{}-{}", ::getpid(), counter.fetch_add(1));
  std::error_code error;
  fs::create_directory(temporary, error);
  if (error) {
    return Fail(ErrorCode::kIo, "{}: cannot create: {}", target.string(), error.message());
  }
  Status written = WriteFiles(adapter, config, temporary);
  if (written) {
    written = Exchange(temporary, target);
  }
  fs::remove_all(temporary, error);
  return written;
}

}  // namespace etch::adapter
