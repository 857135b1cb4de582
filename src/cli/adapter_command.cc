// etch adapter: check LoRA adapters, convert between PEFT and GGUF, and bundle them for others.

#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "adapter/adapter.h"
#include "base/bytes.h"
#include "cli/commands.h"
#include "cli/export_options.h"
#include "cli/loaded_model.h"
#include "cli/terminal.h"
#include "export/adapter_export.h"

namespace etch::cli {
namespace {

struct Options {
  std::string image;
  std::string adapter;
  std::string out;
  std::string format = "peft";
  bool json = false;
  exporting::CheckOptions check;
  exporting::CardInfo card;  // of a bundle
};

Status Verify(const Options& options) {
  ETCH_ASSIGN_OR_RETURN(const image::Image image, image::Image::Open(options.image));
  ETCH_ASSIGN_OR_RETURN(const adapter::Adapter adapter,
                        adapter::ReadAdapter(options.adapter, image.config()));
  ETCH_ASSIGN_OR_RETURN(const auto lowered, adapter::Lower(adapter, image.config()));
  int64_t largest_rank = 0;
  for (const adapter::LoraPair& pair : adapter.pairs) {
    largest_rank = std::max(largest_rank, pair.rank);
  }
  if (options.json) {
    PrintJson(nlohmann::ordered_json({{"name", adapter.name},
                                      {"format", adapter.format},
                                      {"base_model", adapter.base_model},
                                      {"linears", adapter.pairs.size()},
                                      {"rank", largest_rank},
                                      {"bytes", lowered->size_bytes}}));
  } else {
    fmt::print("{}: {} adapter, {} linear layers, rank {}, {} in working memory; fits {}\n",
               options.adapter, adapter.format, adapter.pairs.size(), largest_rank,
               HumanBytes(static_cast<double>(lowered->size_bytes)), image.name());
  }
  return {};
}

Result<exporting::AdapterReport> WriteChecked(const Options& options, const image::Image& image,
                                              const adapter::Adapter& adapter) {
  ProgressLine progress(options.json);
  if (options.format == "gguf") {
    return exporting::WriteAdapterGguf(adapter, image, options.out, options.check,
                                       progress.Callback());
  }
  if (options.format == "peft") {
    return exporting::WriteAdapterPeft(adapter, image, options.out, options.check,
                                       progress.Callback());
  }
  return exporting::WriteAdapterBundle(adapter, image, options.card, options.out, options.check,
                                       progress.Callback());
}

Status Export(const Options& options) {
  ETCH_ASSIGN_OR_RETURN(const image::Image image, image::Image::Open(options.image));
  ETCH_ASSIGN_OR_RETURN(const adapter::Adapter adapter,
                        adapter::ReadAdapter(options.adapter, image.config()));
  ETCH_ASSIGN_OR_RETURN(const exporting::AdapterReport report,
                        WriteChecked(options, image, adapter));
  if (options.json) {
    PrintJson(nlohmann::ordered_json({{"out", options.out},
                                      {"format", options.format},
                                      {"parity", ParityJson(report.parity)},
                                      {"notes", report.notes}}));
    return {};
  }
  for (const std::string& note : report.notes) {
    fmt::print(stderr, "etch: note: {}\n", note);
  }
  fmt::print("{}: written as {}\nparity: {}, A and B {}\n", options.out, options.format,
             exporting::ParityText(report.parity),
             report.parity.max_rounding == 0.0
                 ? "bit for bit"
                 : fmt::format("within {:.2g}", report.parity.max_rounding));
  return {};
}

// Into a folder that `etch serve --adapters` reads.
Status Import(Options options) {
  std::filesystem::path source = options.adapter;
  if (!source.has_filename()) {
    source = source.parent_path();
  }
  const std::filesystem::path name =
      source.extension() == ".gguf" ? source.stem() : source.filename();
  options.out = (std::filesystem::path(options.out) / name).string();
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(options.out).parent_path(), error);
  if (error) {
    return Fail(ErrorCode::kIo, "{}: cannot create the folder: {}", options.out, error.message());
  }
  ETCH_ASSIGN_OR_RETURN(const image::Image image, image::Image::Open(options.image));
  ETCH_ASSIGN_OR_RETURN(const adapter::Adapter adapter,
                        adapter::ReadAdapter(options.adapter, image.config()));
  ETCH_TRY(adapter::WritePeft(adapter, image.config(), options.out));
  if (options.json) {
    PrintJson(nlohmann::ordered_json({{"out", options.out}, {"format", "peft"}}));
  } else {
    fmt::print("{}: written as peft\n", options.out);
  }
  return {};
}

void AddCommon(CLI::App& command, Options& options) {
  options.image = OwnImage();
  CLI::Option* image = command.add_option("IMAGE", options.image, "The image it is for");
  if (options.image.empty()) {
    image->required();
  }
  command.add_option("ADAPTER", options.adapter, "PEFT directory or .gguf")->required();
  command.add_flag("--json", options.json, "Print one JSON object");
}

}  // namespace

void AddAdapter(CLI::App& app, int* exit_code) {
  CLI::App* command = app.add_subcommand("adapter", "Check LoRA adapters; PEFT to GGUF and back");
  command->require_subcommand(1);
  command->footer(
      "Adapters of rank 1 to 1024 on any of the seven linear layers, rsLoRA, rank_pattern and\n"
      "alpha_pattern are taken. Pickles, DoRA and modules_to_save are refused by name.\n"
      "\n"
      "Examples:\n"
      "  etch adapter verify model.etch clients/acme\n"
      "  etch adapter export model.etch clients/acme -o acme.gguf --to gguf   for llama.cpp\n"
      "  etch adapter export model.etch clients/acme -o acme --to bundle      to give away\n"
      "  etch adapter import model.etch acme.gguf -o adapters/               for etch serve");
  const auto add = [&](const char* name, const char* description, auto body) {
    auto options = std::make_shared<Options>();
    CLI::App* child = command->add_subcommand(name, description);
    AddCommon(*child, *options);
    child->callback([options, exit_code, body] {
      const Status status = body(*options);
      *exit_code = status ? 0 : Report(status.error());
    });
    return std::pair(child, options);
  };
  add("verify", "Check that an adapter fits an image", Verify);
  auto [import_command, import_options] =
      add("import", "Put an adapter into the folder that etch serve reads", Import);
  import_command->add_option("-o,--output", import_options->out, "The folder")->required();
  auto [export_command, export_options] =
      add("export", "Write an adapter as PEFT, GGUF or a bundle with tokenizer and card", Export);
  export_command
      ->add_option("-o,--output", export_options->out, "Directory (peft, bundle) or file (gguf)")
      ->required();
  export_command
      ->add_option("--to", export_options->format,
                   "peft (A and B), gguf (llama.cpp) or bundle (PEFT with tokenizer, chat template "
                   "and model card)")
      ->check(CLI::IsMember({"peft", "gguf", "bundle"}))
      ->capture_default_str();
  exporting::CardInfo& card = export_options->card;
  export_command->add_option("--card-data", card.data, "Bundle: the training data in words");
  export_command->add_option("--card-evaluation", card.evaluation, "Bundle: figures, in Markdown");
  export_command->add_option("--card-license", card.license, "Bundle: SPDX identifier");
  AddCheckOptions(*export_command, export_options->check);
}

}  // namespace etch::cli
