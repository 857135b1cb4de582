// etch inspect: what is in a model, an image or an adapter.

#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/bytes.h"
#include "cli/commands.h"
#include "cli/loaded_model.h"
#include "cli/terminal.h"
#include "engine/kv_cache.h"
#include "image/image.h"
#include "image/writer.h"
#include "ingest/source_model.h"

namespace etch::cli {
namespace {

using Json = nlohmann::ordered_json;

struct Options {
  std::string file;
  bool tensors = false;
  bool json = false;
};

Json ToJson(const model::Config& config) {
  return {{"architecture", config.architecture},
          {"parameters", model::ParameterCount(config)},
          {"dim", config.dim},
          {"ffn_dim", config.ffn_dim},
          {"layers", config.n_layers},
          {"heads", config.n_heads},
          {"kv_heads", config.n_kv_heads},
          {"head_dim", config.head_dim},
          {"vocabulary", config.vocab_size},
          {"context", config.context},
          {"rope_theta", config.rope_theta},
          {"tied_embeddings", config.tied_embeddings}};
}

void PrintConfig(const model::Config& config) {
  fmt::print("shape        {} layers, width {}, ffn {}, {} heads of {} ({} for keys and values)\n",
             config.n_layers, config.dim, config.ffn_dim, config.n_heads, config.head_dim,
             config.n_kv_heads);
  fmt::print("weights      {}, vocabulary {}, context {}\n",
             HumanCount(static_cast<double>(model::ParameterCount(config))), config.vocab_size,
             config.context);
}

// Stored bits a weight over every matrix: padding, row scales and group parameters included.
double BitsPerWeight(const image::Image& image) {
  double bits = 0.0;
  double weights = 0.0;
  for (const image::TensorInfo& tensor : image.tensors()) {
    if (!model::IsNorm(tensor.role)) {
      bits += 8.0 * static_cast<double>(tensor.size_bytes);
      weights += static_cast<double>(tensor.shape.size());
    }
  }
  return bits / weights;
}

std::string InputName(const image::Image& image, const image::TensorInfo& tensor) {
  if (image.is_source() || tensor.role == model::Role::kTokenEmbedding) {
    return "";
  }
  const auto format = image.InputFormat(model::SiteOf(tensor.role), tensor.layer);
  return format == numerics::ActivationFormat::kA8 ? "A8" : "A16";
}

Json TensorsJson(const image::Image& image) {
  Json tensors = Json::array();
  for (const image::TensorInfo& tensor : image.tensors()) {
    if (!model::IsNorm(tensor.role)) {
      tensors.push_back({{"name", model::TensorName(tensor.role, tensor.layer)},
                         {"format", numerics::FormatName(tensor.format)},
                         {"input", InputName(image, tensor)},
                         {"rows", tensor.shape.rows},
                         {"cols", tensor.shape.cols},
                         {"bytes", tensor.size_bytes}});
    }
  }
  return tensors;
}

void PrintImage(const Options& options, const image::Image& image) {
  const model::Config& config = image.config();
  const model::Vocabulary& vocabulary = image.vocabulary();
  const bool bpe = vocabulary.kind == model::TokenizerKind::kByteLevelBpe;
  fmt::print("image        {}{}\n", image.name(),
             image.is_source() ? " (original weights, float backend only)" : "");
  PrintConfig(config);
  fmt::print("size         {}, {:.3f} bits a weight over all tensors\n",
             HumanBytes(static_cast<double>(image.size_bytes())), BitsPerWeight(image));
  fmt::print("context      {} a token of memory\n",
             HumanBytes(static_cast<double>(engine::KvCache::BytesPerToken(config))));
  fmt::print("tokenizer    {}, {} tokens; chat template: {}\n",
             bpe ? "byte-level BPE" : "SentencePiece", vocabulary.tokens.size(),
             vocabulary.chat_template.empty() ? "none" : "yes");
  fmt::print("fingerprint  {:016x}; every checksum verified\n", image.fingerprint());
  fmt::print("provenance   {}\n", image.provenance_json());
  if (options.tensors) {
    fmt::print("\n{:<22} {:<5} {:<4} {:>8} {:>8} {:>12}\n", "tensor", "fmt", "in", "rows", "cols",
               "bytes");
    for (const image::TensorInfo& tensor : image.tensors()) {
      if (!model::IsNorm(tensor.role)) {
        fmt::print("{:<22} {:<5} {:<4} {:>8} {:>8} {:>12}\n",
                   model::TensorName(tensor.role, tensor.layer),
                   numerics::FormatName(tensor.format), InputName(image, tensor), tensor.shape.rows,
                   tensor.shape.cols, tensor.size_bytes);
      }
    }
    fmt::print("\n{:<22} {:>12} {:>12}  {}\n", "section", "offset", "bytes", "xxh3");
    for (const image::SectionInfo& section : image.sections()) {
      fmt::print("{:<22} {:>12} {:>12}  {:016x}\n", section.name, section.offset,
                 section.size_bytes, section.xxh3);
    }
  }
}

Status InspectImage(const Options& options) {
  ETCH_ASSIGN_OR_RETURN(const image::Image image, image::Image::Open(options.file));
  if (!options.json) {
    PrintImage(options, image);
    return {};
  }
  Json json = {{"kind", "image"},
               {"name", image.name()},
               {"source", image.is_source()},
               {"config", ToJson(image.config())},
               {"bytes", image.size_bytes()},
               {"bits_per_weight", BitsPerWeight(image)},
               {"kv_bytes_per_token", engine::KvCache::BytesPerToken(image.config())},
               {"fingerprint", fmt::format("{:016x}", image.fingerprint())},
               {"provenance", Json::parse(image.provenance_json(), nullptr, false)}};
  if (options.tensors) {
    json["tensors"] = TensorsJson(image);
    json["report"] = Json::parse(image.report_json(), nullptr, false);
  }
  PrintJson(json);
  return {};
}

Status InspectModel(const Options& options) {
  ETCH_ASSIGN_OR_RETURN(const auto source, ingest::OpenModel(options.file));
  const std::vector<ingest::SourceTensor> tensors = source->Tensors();
  if (options.json) {
    Json list = Json::array();
    for (const ingest::SourceTensor& tensor : tensors) {
      list.push_back({{"name", tensor.name},
                      {"format", tensor.format},
                      {"shape", tensor.shape},
                      {"bytes", tensor.size_bytes}});
    }
    Json json = {{"kind", "model"},
                 {"format", source->format()},
                 {"name", source->name()},
                 {"config", ToJson(source->config())}};
    if (options.tensors) {
      json["tensors"] = std::move(list);
    }
    PrintJson(json);
    return {};
  }
  fmt::print("model        {} ({})\n", source->name(), source->format());
  PrintConfig(source->config());
  fmt::print("tokenizer    {} tokens; chat template: {}\n", source->vocabulary().tokens.size(),
             source->vocabulary().chat_template.empty() ? "none" : "yes");
  if (options.tensors) {
    for (const ingest::SourceTensor& tensor : tensors) {
      fmt::print("{:<50} {:<5} {:>12} bytes  [{}]\n", tensor.name, tensor.format, tensor.size_bytes,
                 fmt::join(tensor.shape, ", "));
    }
  }
  return {};
}

int Execute(const Options& options) {
  std::error_code ignored;
  const Result<MappedFile> file = std::filesystem::is_directory(options.file, ignored)
                                      ? Result<MappedFile>(Fail(ErrorCode::kNotFound, ""))
                                      : MappedFile::Open(options.file);
  const bool is_image = file && (AsText(file->bytes()).starts_with("ETCHIMG") ||
                                 image::HasAppendedImage(options.file));
  const Status status = is_image ? InspectImage(options) : InspectModel(options);
  return status ? 0 : Report(status.error());
}

}  // namespace

void AddInspect(CLI::App& app, int* exit_code) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("inspect", "What is in a model or an image");
  command->footer(
      "Opening an image verifies every checksum in it.\n"
      "\n"
      "Examples:\n"
      "  etch inspect model.etch --tensors\n"
      "  etch inspect model.gguf --json");
  options->file = OwnImage();
  CLI::Option* file =
      command->add_option("FILE", options->file, "Image, model directory, .gguf or .bin");
  if (options->file.empty()) {
    file->required();
  }
  command->add_flag("--tensors", options->tensors, "List every tensor and section");
  command->add_flag("--json", options->json, "Print one JSON object");
  command->callback([options, exit_code] { *exit_code = Execute(*options); });
}

}  // namespace etch::cli
