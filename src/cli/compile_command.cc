// etch compile: a model becomes an image.

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/bytes.h"
#include "cli/commands.h"
#include "cli/terminal.h"
#include "compile/compile.h"
#include "compile/synthetic.h"
#include "image/writer.h"

namespace etch::cli {
namespace {

constexpr std::array kRecipes = {compile::Recipe::kDefault, compile::Recipe::kFloat4,
                                 compile::Recipe::kSource};

struct Options {
  std::string model;
  std::string synthetic;
  uint64_t seed = 0;
  std::string tokenizer;
  std::string out;
  std::string recipe = "default";
  bool standalone = false;
  bool json = false;
  bool quiet = false;
  compile::CompileOptions compile;
};

Result<std::unique_ptr<ingest::SourceModel>> OpenSource(const Options& options) {
  if (options.synthetic.empty()) {
    return ingest::OpenModel(options.model, options.tokenizer);
  }
  ETCH_ASSIGN_OR_RETURN(const model::Config config, model::PresetConfig(options.synthetic));
  return ingest::MakeSyntheticModel(config, options.seed, options.synthetic + "-synthetic");
}

nlohmann::ordered_json ToJson(const Options& options, const compile::CompileReport& report) {
  nlohmann::ordered_json tensors = nlohmann::ordered_json::array();
  for (const compile::TensorReport& tensor : report.tensors) {
    tensors.push_back({{"name", tensor.name},
                       {"format", numerics::FormatName(tensor.format)},
                       {"input", tensor.input},
                       {"rows", tensor.rows},
                       {"cols", tensor.cols},
                       {"error", tensor.error},
                       {"bits", tensor.bits},
                       {"share", tensor.share}});
  }
  return {{"image", options.out},        {"parameters", report.parameters},
          {"bytes", report.image_bytes}, {"bits_per_weight", report.bits_per_weight},
          {"seconds", report.seconds},   {"tensors", std::move(tensors)}};
}

// Per role: how many tensors in which format, and the mean error.
void PrintSummary(const Options& options, const compile::CompileReport& report) {
  struct Line {
    int64_t count = 0;
    double error = 0.0;
    double share = 0.0;
  };
  std::map<std::string, Line> lines;
  for (const compile::TensorReport& tensor : report.tensors) {
    const size_t dot = tensor.name.rfind('.');
    const std::string role = dot == std::string::npos ? tensor.name : tensor.name.substr(dot + 1);
    Line& line = lines[fmt::format("{:<12} {:<4} {:<4}", role, numerics::FormatName(tensor.format),
                                   tensor.input)];
    ++line.count;
    line.error += tensor.error;
    line.share += tensor.share;
  }
  fmt::print("{:<12} {:<4} {:<4} {:>7} {:>10} {:>7}\n", "tensor", "fmt", "in", "count", "error",
             "share");
  for (const auto& [name, line] : lines) {
    fmt::print("{} {:>7} {:>8.3f} % {:>5.1f} %\n", name, line.count,
               100.0 * line.error / static_cast<double>(line.count), 100.0 * line.share);
  }
  fmt::print("{}: {} weights, {} ({:.3f} bits a weight) in {}\n", options.out,
             HumanCount(static_cast<double>(report.parameters)),
             HumanBytes(static_cast<double>(report.image_bytes)), report.bits_per_weight,
             HumanSeconds(report.seconds));
}

Result<compile::CompileReport> Run(const Options& options) {
  ETCH_ASSIGN_OR_RETURN(const std::unique_ptr<ingest::SourceModel> source, OpenSource(options));
  ProgressLine progress(options.quiet || options.json);
  const auto compile = [&](const std::filesystem::path& out) {
    const bool is_drawn =
        !options.synthetic.empty() && options.compile.recipe != compile::Recipe::kSource;
    return is_drawn ? compile::CompileSynthetic(*source, options.seed, out, options.compile,
                                                progress.Callback())
                    : compile::Compile(*source, out, options.compile, progress.Callback());
  };
  if (!options.standalone) {
    return compile(options.out);
  }
  const std::filesystem::path image = fmt::format("{}.image-{}", options.out, ::getpid());
  auto report = compile(image);
  if (report) {
    const Status written = image::WriteStandalone("/proc/self/exe", image, options.out);
    if (!written) {
      report = tl::unexpected(written.error());
    }
  }
  std::error_code ignored;
  std::filesystem::remove(image, ignored);
  return report;
}

int Execute(Options& options) {
  for (const compile::Recipe recipe : kRecipes) {
    if (options.recipe == compile::RecipeName(recipe)) {
      options.compile.recipe = recipe;
    }
  }
  if (options.model.empty() == options.synthetic.empty()) {
    fmt::print(stderr, "etch: give either a MODEL or --synthetic SHAPE\n");
    return kExitUsage;
  }
  const Result<compile::CompileReport> report = Run(options);
  if (!report) {
    return Report(report.error());
  }
  if (options.json) {
    PrintJson(ToJson(options, *report));
  } else if (!options.quiet) {
    PrintSummary(options, *report);
  }
  return 0;
}

}  // namespace

void AddCompile(CLI::App& app, int* exit_code) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("compile", "Turn a model into a hardwired 3-bit image");
  command->footer(
      "MODEL is a directory in Hugging Face's layout (config.json, safetensors, tokenizer), a\n"
      ".gguf file, or a llama2.c .bin with its tokenizer beside it. Models of the Llama family\n"
      "are read: Llama 2, 3, 3.1, 3.2, SmolLM, Mistral.\n"
      "\n"
      "A calibration text, in the language and domain that the model will see, tells which\n"
      "inputs matter; without one all count the same.\n"
      "\n"
      "Examples:\n"
      "  etch compile Llama-3.2-1B-Instruct/ -o llama.etch --calibration wiki.txt\n"
      "  etch compile model.gguf -o model --standalone && ./model run\n"
      "  etch compile model.gguf -o source.etch --recipe source   original weights, float only\n"
      "  etch compile --synthetic llama-3.1-8b -o shape.etch      random weights, true shape");
  command->add_option("MODEL", options->model, "Directory, .gguf or .bin");
  command->add_option("-o,--output", options->out, "The image to write")->required();
  command
      ->add_option("--recipe", options->recipe,
                   "default (3 bits), w4f (4-bit floats) or source (original weights)")
      ->check(CLI::IsMember({"default", "w4f", "source"}))
      ->capture_default_str();
  command->add_option("--calibration", options->compile.calibration_text,
                      "Text file that weighs the inputs by how much they matter");
  command
      ->add_option("--calibration-tokens", options->compile.calibration_tokens,
                   "Use at most so many tokens of it")
      ->check(CLI::Range(int64_t{16}, int64_t{1} << 24))
      ->capture_default_str();
  command
      ->add_option("--bits", options->compile.bits,
                   "Average bits a weight, 3.2 to 6.2. Default: 3.5 from a billion weights on, "
                   "4.5 below")
      ->check(CLI::Range(3.0, 6.5));
  command->add_option("--name", options->compile.name,
                      "Model id for the API. Default: the source's");
  command->add_option("--tokenizer", options->tokenizer, "tokenizer.bin of a llama2.c model");
  command->add_option("--synthetic", options->synthetic,
                      "Seeded random weights instead of a MODEL: llama-3.1-8b, "
                      "llama-3.1-8b-layer, llama-3.2-3b, llama-3.2-1b, smollm-135m, stories260k");
  command->add_option("--seed", options->seed, "Seed of --synthetic")->capture_default_str();
  command->add_flag("--standalone", options->standalone,
                    "Write one executable that is the model: ./OUTPUT run, ./OUTPUT serve");
  command->add_option("-t,--threads", options->compile.threads, "Threads; 0: one a processor")
      ->capture_default_str();
  command->add_flag("-q,--quiet", options->quiet, "Print nothing but errors");
  command->add_flag("--json", options->json, "Print one JSON object");
  command->callback([options, exit_code] { *exit_code = Execute(*options); });
}

}  // namespace etch::cli
