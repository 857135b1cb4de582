#include "compile/report.h"

#include <nlohmann/json.hpp>

#include "image/layout.h"

namespace etch::compile {
namespace {

using Json = nlohmann::ordered_json;

std::string Hex(uint64_t hash) { return fmt::format("{:016x}", hash); }

// Names come from files and may hold any bytes; JSON text is UTF-8.
std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

std::string ProvenanceJson(const ingest::SourceModel& source, const CompileOptions& options,
                           double bits, const CalibrationText* text) {
  const bool is_source = options.recipe == Recipe::kSource;
  Json files = Json::array();
  for (const ingest::SourceFile& file : source.files()) {
    files.push_back(
        {{"name", file.name}, {"size_bytes", file.size_bytes}, {"xxh3", Hex(file.xxh3)}});
  }
  Json json;
  json["etch"] = ETCH_VERSION;
  json["contract"] = image::kContractVersion;
  json["recipe"] = RecipeName(options.recipe);
  json["source"] = {{"format", source.format()}, {"name", source.name()}, {"files", files}};
  if (!is_source) {
    json["bits"] = bits;
  }
  if (text != nullptr) {
    int64_t tokens = 0;
    for (const auto& sequence : text->sequences) {
      tokens += static_cast<int64_t>(sequence.size());
    }
    json["calibration"] = {
        {"tokens", tokens}, {"size_bytes", text->size_bytes}, {"xxh3", Hex(text->xxh3)}};
  } else {
    json["calibration"] = nullptr;
  }
  return Dump(json);
}

std::string ReportJson(const CompileReport& report) {
  Json tensors = Json::array();
  for (const TensorReport& tensor : report.tensors) {
    tensors.push_back({{"name", tensor.name},
                       {"format", numerics::FormatName(tensor.format)},
                       {"input", tensor.input},
                       {"rows", tensor.rows},
                       {"cols", tensor.cols},
                       {"error", tensor.error},
                       {"bits", tensor.bits},
                       {"share", tensor.share}});
  }
  const Json json = {{"bits_per_weight", report.bits_per_weight}, {"tensors", tensors}};
  return Dump(json);
}

}  // namespace etch::compile
