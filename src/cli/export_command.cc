// etch export: an image, alone or with adapters merged in, as a GGUF file for llama.cpp.

#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "adapter/adapter.h"
#include "base/bytes.h"
#include "cli/commands.h"
#include "cli/export_options.h"
#include "cli/loaded_model.h"
#include "cli/terminal.h"
#include "export/encode.h"
#include "export/gguf_export.h"

namespace etch::cli {
namespace {

struct Options {
  std::string image;
  std::string out;
  std::string type = "f16";
  std::vector<std::string> adapters;  // PATH or PATH=WEIGHT
  exporting::ExportOptions exporting;
  bool quiet = false;
  bool json = false;
};

Result<exporting::ExportReport> Run(Options& options) {
  ETCH_ASSIGN_OR_RETURN(options.exporting.type, exporting::ParseExportType(options.type));
  ETCH_ASSIGN_OR_RETURN(const image::Image image,
                        image::Image::Open(options.image, options.exporting.check.threads));
  for (const std::string& text : options.adapters) {
    ETCH_ASSIGN_OR_RETURN(const adapter::AdapterArgument argument,
                          adapter::ParseAdapterArgument(text));
    ETCH_ASSIGN_OR_RETURN(auto weights, adapter::LoadAdapter(argument.path, image.config()));
    ETCH_ASSIGN_OR_RETURN(const int32_t weight, adapter::ToWeightQ16(argument.weight));
    options.exporting.adapters.push_back({std::move(weights), weight});
  }
  ProgressLine progress(options.quiet || options.json);
  return exporting::ExportGguf(image, options.out, options.exporting, progress.Callback());
}

void Print(const Options& options, const exporting::ExportReport& report) {
  for (const std::string& note : report.notes) {
    fmt::print(stderr, "etch: note: {}\n", note);
  }
  fmt::print("{}: {} tensors as {}, {}{} in {}\n", options.out, report.tensors, options.type,
             HumanBytes(static_cast<double>(report.bytes)),
             options.adapters.empty()
                 ? ""
                 : fmt::format(", {} adapter{} merged in", options.adapters.size(),
                               options.adapters.size() == 1 ? "" : "s"),
             HumanSeconds(report.seconds));
  fmt::print("parity: {}, weights {}\n", exporting::ParityText(report.parity),
             report.parity.max_rounding == 0.0
                 ? "held exactly"
                 : fmt::format("within {:.2g}", report.parity.max_rounding));
}

int Execute(Options& options) {
  const Result<exporting::ExportReport> report = Run(options);
  if (!report) {
    return Report(report.error());
  }
  if (options.json) {
    PrintJson(nlohmann::ordered_json({{"out", options.out},
                                      {"type", options.type},
                                      {"adapters", options.adapters.size()},
                                      {"tensors", report->tensors},
                                      {"bytes", report->bytes},
                                      {"seconds", report->seconds},
                                      {"parity", ParityJson(report->parity)},
                                      {"notes", report->notes}}));
  } else if (!options.quiet) {
    Print(options, *report);
  }
  return 0;
}

}  // namespace

nlohmann::ordered_json ParityJson(const exporting::Parity& parity) {
  return {{"positions", parity.positions},
          {"max_difference", parity.max_difference},
          {"bound", parity.bound},
          {"same_top", parity.same_top},
          {"max_rounding", parity.max_rounding}};
}

void AddExport(CLI::App& app, int* exit_code) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("export", "Write a GGUF file that stock llama.cpp runs");
  command->footer(
      "The file holds the dequantised base of the image; adapters are merged into that base, in\n"
      "float, never into the original weights and never rounded to 3 bits again. q8_0 holds the\n"
      "base as closely as f16 at half the size; f32 holds it exactly. The file is read back and\n"
      "compared with the floating-point twin, and does not stay when they differ.\n"
      "`etch adapter export` writes an adapter by itself.\n"
      "\n"
      "Examples:\n"
      "  etch export model.etch -o base.gguf --type q8_0\n"
      "  etch export model.etch --adapter clients/acme -o acme.gguf\n"
      "  etch export model.etch --adapter style=0.5 --adapter facts -o both.gguf");
  options->image = OwnImage();
  CLI::Option* image = command->add_option("IMAGE", options->image, "Image made by `etch compile`");
  if (options->image.empty()) {
    image->required();
  }
  command->add_option("-o,--output", options->out, "The .gguf to write")->required();
  command->add_option("--type", options->type, "Type of the matrices: f16, q8_0, bf16 or f32")
      ->check(CLI::IsMember({"f16", "q8_0", "bf16", "f32"}))
      ->capture_default_str();
  command->add_option("--adapter", options->adapters,
                      "LoRA adapter to merge: a PEFT directory or a .gguf, with an optional weight "
                      "(PATH=0.5). Repeat to stack several");
  command->add_option("--name", options->exporting.name, "Name of the model in the file");
  AddCheckOptions(*command, options->exporting.check);
  command->add_flag("-q,--quiet", options->quiet, "Print nothing but errors");
  command->add_flag("--json", options->json, "Print one JSON object");
  command->callback([options, exit_code] { *exit_code = Execute(*options); });
}

void AddCheckOptions(CLI::App& command, exporting::CheckOptions& options) {
  command
      .add_option("--check-tokens", options.positions,
                  "Length of the sequence over which logits are compared")
      ->check(CLI::Range(int64_t{1}, int64_t{4096}))
      ->capture_default_str();
  command.add_option("-t,--threads", options.threads, "Threads; 0: one for each processor")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
}

}  // namespace etch::cli
