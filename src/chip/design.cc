#include "chip/design.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "base/file.h"
#include "chip/inputs.h"

namespace etch::chip {
namespace {

using Json = nlohmann::ordered_json;

// Reads the fields of an object; the first that does not fit is the error. Every field that the
// object has must be asked for.
class Reader {
 public:
  Reader(const Json& object, std::string path) : object_(object), path_(std::move(path)) {
    if (!object.is_object()) {
      Refuse("an object is needed", path_);
    }
  }

  void Integer(const char* key, int64_t least, int64_t most, int64_t& into) {
    const Json* field = Field(key);
    if (field == nullptr) {
      return;
    }
    if (!field->is_number_integer() || *field < least || *field > most) {
      Refuse(fmt::format("a whole number from {} to {} is needed", least, most), Path(key));
      return;
    }
    into = field->get<int64_t>();
  }
  void Number(const char* key, double least, double most, double& into) {
    const Json* field = Field(key);
    if (field == nullptr) {
      return;
    }
    const double value = field->is_number() ? field->get<double>() : std::nan("");
    if (!(value >= least && value <= most)) {
      Refuse(fmt::format("a number from {} to {} is needed", least, most), Path(key));
      return;
    }
    into = value;
  }
  void Text(const char* key, std::string& into) {
    const Json* field = Field(key);
    if (field == nullptr) {
      return;
    }
    if (!field->is_string() || field->get<std::string>().empty()) {
      Refuse("a text is needed", Path(key));
      return;
    }
    into = field->get<std::string>();
  }
  void Flag(const char* key, bool& into) {
    const Json* field = Field(key);
    if (field == nullptr) {
      return;
    }
    if (!field->is_boolean()) {
      Refuse("true or false is needed", Path(key));
      return;
    }
    into = field->get<bool>();
  }
  // Null when it is not there.
  const Json* Object(const char* key) {
    const Json* field = Field(key);
    if (field != nullptr && !field->is_object()) {
      Refuse("an object is needed", Path(key));
      return nullptr;
    }
    return field;
  }
  void Require(const char* key) {
    if (object_.is_object() && !object_.contains(key)) {
      Refuse("is missing", Path(key));
    }
  }
  std::string Path(std::string_view key) const { return fmt::format("{}.{}", path_, key); }

  Status Done() {
    if (!error_.empty()) {
      return Fail(ErrorCode::kMalformed, "{}", error_);
    }
    for (const auto& [key, value] : object_.items()) {
      if (!asked_.contains(key)) {
        return Fail(ErrorCode::kMalformed, "{}: unknown field", Path(key));
      }
    }
    return {};
  }

 private:
  const Json* Field(const char* key) {
    asked_.insert(key);
    if (!object_.is_object()) {
      return nullptr;
    }
    const auto found = object_.find(key);
    return found == object_.end() ? nullptr : &*found;
  }
  void Refuse(const std::string& what, const std::string& where) {
    if (error_.empty()) {
      error_ = fmt::format("{}: {}", where, what);
    }
  }

  const Json& object_;
  std::string path_;
  std::set<std::string, std::less<>> asked_;
  std::string error_;
};

Status ReadModel(const Json& json, const std::string& path, Design& design) {
  Reader reader(json, path);
  model::Config& config = design.shape.config;
  for (const char* key : {"dim", "layers", "heads", "kv_heads", "head_dim", "ffn_dim", "vocab"}) {
    reader.Require(key);
  }
  constexpr int64_t kMost = int64_t{1} << 20;
  reader.Text("name", design.model);
  reader.Integer("dim", 32, kMost, config.dim);
  reader.Integer("layers", 1, 1024, config.n_layers);
  reader.Integer("heads", 1, 1024, config.n_heads);
  reader.Integer("kv_heads", 1, 1024, config.n_kv_heads);
  reader.Integer("head_dim", 2, 1024, config.head_dim);
  reader.Integer("ffn_dim", 32, kMost, config.ffn_dim);
  reader.Integer("vocab", 2, kMost, config.vocab_size);
  reader.Flag("tied", config.tied_embeddings);
  reader.Number("experts", 1.0, 1e4, design.experts);
  config.context = kMost;
  ETCH_TRY(reader.Done());
  if (config.n_heads % config.n_kv_heads != 0) {
    return Fail(ErrorCode::kMalformed, "{}.kv_heads: {} heads are not whole groups of {}", path,
                config.n_heads, config.n_kv_heads);
  }
  if (config.head_dim % 2 != 0) {
    return Fail(ErrorCode::kMalformed, "{}.head_dim: {} is odd", path, config.head_dim);
  }
  return {};
}

Status ReadWeights(const Json& json, const std::string& path, Design& design) {
  Reader reader(json, path);
  WeightStorage& weights = design.weights;
  std::string rom = "mask";
  reader.Number("code_bits", 1.0, 4.0, weights.code_bits);
  reader.Number("entropy_bits", 0.1, 16.0, weights.entropy_bits);
  reader.Integer("group", 1, int64_t{1} << 20, weights.group);
  reader.Number("group_bits", 0.0, 64.0, weights.group_bits);
  reader.Number("row_bits", 0.0, 64.0, weights.row_bits);
  reader.Text("rom", rom);
  ETCH_TRY(reader.Done());
  if (rom != "mask" && rom != "logic" && rom != "spatial") {
    return Fail(ErrorCode::kMalformed, "{}.rom: \"mask\", \"logic\" or \"spatial\" is needed",
                path);
  }
  weights.rom = rom == "mask"    ? RomKind::kMask
                : rom == "logic" ? RomKind::kLogic
                                 : RomKind::kSpatial;
  return {};
}

Status ReadCache(const Json& json, const std::string& path, CacheStorage& cache) {
  Reader reader(json, path);
  reader.Number("key_bits", 1.0, 32.0, cache.key_bits);
  reader.Number("value_bits", 1.0, 32.0, cache.value_bits);
  reader.Number("block_bits", 0.0, 32.0, cache.block_bits);
  reader.Flag("on_chip", cache.on_chip);
  return reader.Done();
}

Status ReadChoices(const Json& json, const std::string& path, Design& design) {
  Reader reader(json, path);
  plan::Choices& choices = design.choices;
  constexpr int64_t kMost = int64_t{1} << 24;
  reader.Integer("lanes", 8, kMost, choices.lanes);
  reader.Integer("splits", 1, kMost, choices.splits);
  reader.Integer("vector_width", 1, kMost, choices.vector_width);
  reader.Integer("attention_width", 1, kMost, choices.attention_width);
  reader.Integer("adapter_lanes", 32, kMost, choices.adapter_lanes);
  reader.Integer("layers_in_flight", 1, 1024, choices.stages);
  reader.Integer("context", 1, int64_t{1} << 20, choices.context);
  reader.Integer("users", 1, 4096, choices.sessions);
  reader.Integer("adapter_rank", 0, 1024, choices.adapter_rank);
  reader.Integer("adapter_slots", 0, 4096, choices.adapter_slots);
  reader.Number("adapter_bits", 1.0, 32.0, design.adapter_bits);
  reader.Integer("prompt_batch", 1, 4096, design.prompt_batch);
  reader.Integer("chips", 0, 1024, design.chips);
  reader.Number("voltage", 0.0, 5.0, design.voltage);
  return reader.Done();
}

Status ReadUse(const Json& json, const std::string& path, Use& use) {
  Reader reader(json, path);
  reader.Integer("users", 1, 4096, use.users);
  reader.Integer("prompt", 1, int64_t{1} << 20, use.prompt);
  reader.Integer("output", 1, int64_t{1} << 20, use.output);
  reader.Flag("adapter", use.adapter);
  reader.Flag("swap", use.swap);
  return reader.Done();
}

Status ReadReplaced(const Json& json, const std::string& path, Design& design) {
  ETCH_ASSIGN_OR_RETURN(const Inputs inputs, LoadInputs("unit"));
  std::vector<QuantitySpec> specs;
  for (const auto& [key, value] : json.items()) {
    const Quantity* known = inputs.Find(key);
    if (known == nullptr) {
      return Fail(ErrorCode::kMalformed, "{}.{}: no quantity of that name", path, key);
    }
    specs.push_back({known->name, known->unit});
  }
  const Json values = {{"values", json}};
  ETCH_ASSIGN_OR_RETURN(design.replaced, ParseQuantities(values.dump(), path, specs));
  return {};
}

Status ReadAssumptions(const Json& json, const std::string& path, Design& design) {
  for (const auto& [what, why] : json.items()) {
    if (!why.is_string()) {
      return Fail(ErrorCode::kMalformed, "{}.{}: a text is needed", path, what);
    }
    design.assumptions.push_back({what, why.get<std::string>()});
  }
  return {};
}

}  // namespace

Result<Design> ParseDesign(std::string_view text, std::string_view origin) {
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) {
    return Fail(ErrorCode::kMalformed, "{}: a JSON object is needed", origin);
  }
  Design design;
  Reader reader(json, std::string(origin));
  for (const char* key : {"name", "title", "technology", "model"}) {
    reader.Require(key);
  }
  reader.Text("name", design.name);
  reader.Text("title", design.title);
  reader.Text("technology", design.technology);
  const Json* shape = reader.Object("model");
  const Json* weights = reader.Object("weights");
  const Json* cache = reader.Object("cache");
  const Json* choices = reader.Object("choices");
  const Json* use = reader.Object("use");
  const Json* quantities = reader.Object("quantities");
  const Json* assumptions = reader.Object("assumptions");
  ETCH_TRY(reader.Done());
  ETCH_TRY(ReadModel(*shape, reader.Path("model"), design));
  if (weights != nullptr) {
    ETCH_TRY(ReadWeights(*weights, reader.Path("weights"), design));
  }
  if (cache != nullptr) {
    ETCH_TRY(ReadCache(*cache, reader.Path("cache"), design.cache));
  }
  if (choices != nullptr) {
    ETCH_TRY(ReadChoices(*choices, reader.Path("choices"), design));
  }
  if (use != nullptr) {
    ETCH_TRY(ReadUse(*use, reader.Path("use"), design.use));
  }
  if (quantities != nullptr) {
    ETCH_TRY(ReadReplaced(*quantities, reader.Path("quantities"), design));
  }
  if (assumptions != nullptr) {
    ETCH_TRY(ReadAssumptions(*assumptions, reader.Path("assumptions"), design));
  }
  return design;
}

Result<Design> LoadDesign(const std::string& name) {
  const std::vector<std::string> presets = DataNames("chip/presets");
  if (std::ranges::find(presets, name) != presets.end()) {
    ETCH_ASSIGN_OR_RETURN(const std::string_view text, FindData("chip/presets/" + name + ".json"));
    return ParseDesign(text, name);
  }
  if (!name.ends_with(".json")) {
    return Fail(ErrorCode::kNotFound,
                "{}: no such image, and no preset of that name; presets are {}, and a file of the "
                "same form ends in .json",
                name, fmt::join(presets, ", "));
  }
  ETCH_ASSIGN_OR_RETURN(const std::string text, ReadSmallFile(name));
  return ParseDesign(text, name);
}

Result<Design> DesignOf(const image::Image& image, const std::string& name,
                        const plan::Choices& choices) {
  Design design;
  design.name = name;
  design.title = fmt::format("The chip that etch rtl writes of {}", name);
  design.model = name;
  design.technology = "n6";
  ETCH_ASSIGN_OR_RETURN(design.shape, plan::ShapeOf(image));
  design.choices = choices;
  ETCH_ASSIGN_OR_RETURN(const plan::HardwarePlan plan, plan::MakePlan(design.shape, choices));
  design.choices = plan.fabric.choices;
  design.use.prompt = std::max<int64_t>(1, design.choices.context / 2);
  design.use.output = std::max<int64_t>(1, design.choices.context / 2);
  return design;
}

}  // namespace etch::chip
