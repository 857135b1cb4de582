#include "cli/loaded_model.h"

#include <map>

#include "adapter/adapter.h"
#include "image/writer.h"

namespace etch::cli {
namespace {

// Of a chip that is built for a run.
constexpr int64_t kChipSessions = 4;
constexpr int64_t kChipRank = 32;

}  // namespace

const std::string& OwnImage() {
  static const std::string path = image::HasAppendedImage("/proc/self/exe") ? "/proc/self/exe" : "";
  return path;
}

void AddRunOptions(CLI::App& command, RunOptions& options, bool with_adapters) {
  options.image = OwnImage();
  CLI::Option* image = command.add_option("IMAGE", options.image, "Image made by `etch compile`");
  if (options.image.empty()) {
    image->required();
  }
  command
      .add_option("--backend", options.backend,
                  "cpu (threaded integers), reference (the contract as written, slow), "
                  "float (the floating-point twin), rtl (the chip, simulated by Verilator)")
      ->capture_default_str();
  command.add_option("-t,--threads", options.threads, "Threads; 0: one for each processor")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  command.add_option("--isa", options.isa,
                     "Instruction set of the cpu backend; `etch info` lists them. "
                     "Default: the best this machine has");
  command
      .add_option("-c,--context", options.context,
                  "Longest sequence in tokens, prompt and answer; 0: the model's, at most 4096")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command.add_option("--chip", options.chip,
                     "Folder that `etch rtl --verify` wrote, for --backend rtl. Default: a chip is "
                     "built for this run, which takes half a minute");
  if (with_adapters) {
    command.add_option("--adapter", options.adapters,
                       "LoRA adapter: a PEFT directory or a .gguf, with an optional weight "
                       "(PATH=0.5). Repeat to stack several");
  }
}

void AddSpeculateOption(CLI::App& command, engine::Speculation& speculation) {
  using engine::Speculation;
  static const std::map<std::string, Speculation> kNames = {
      {"off", Speculation::kOff}, {"auto", Speculation::kAuto}, {"always", Speculation::kAlways}};
  command
      .add_option_function<std::string>(
          "--speculate", [&speculation](const std::string& name) { speculation = kNames.at(name); },
          "Draft tokens by prompt look-up: auto (where it pays, measured as it goes), off, "
          "always (to measure); the text is the same")
      ->check(CLI::IsMember(kNames))
      ->type_name("HOW")
      ->default_str("auto");
}

Result<LoadedModel> LoadModel(const RunOptions& options, const std::function<bool()>& interrupted) {
  LoadedModel model;
  const bool is_chip = options.backend == "rtl";
  if (!is_chip && !options.chip.empty()) {
    return Fail(ErrorCode::kInvalidArgument, "--chip is for --backend rtl");
  }
  engine::EngineOptions engine_options{engine::BackendKind::kCpu, options.threads, options.isa,
                                       options.context, interrupted};
  if (!is_chip) {
    ETCH_ASSIGN_OR_RETURN(engine_options.backend, engine::ParseBackend(options.backend));
  }
  ETCH_ASSIGN_OR_RETURN(image::Image image, image::Image::Open(options.image, options.threads));
  model.image = std::make_unique<image::Image>(std::move(image));
  ETCH_ASSIGN_OR_RETURN(model.tokenizer, text::Tokenizer::Create(model.image->vocabulary()));
  const std::string& source = model.image->vocabulary().chat_template;
  if (!source.empty()) {
    ETCH_ASSIGN_OR_RETURN(model.chat_template, text::ChatTemplate::Parse(source));
  }
  if (is_chip) {
    plan::Choices choices;
    choices.context = options.context;
    choices.sessions = kChipSessions;
    choices.adapter_rank = std::min(kChipRank, model.image->config().dim);
    ETCH_ASSIGN_OR_RETURN(model.chip, LoadedChip::Load(*model.image, options.chip, choices));
    ETCH_ASSIGN_OR_RETURN(model.engine, model.chip->MakeEngine(*model.image, engine_options));
  } else {
    ETCH_ASSIGN_OR_RETURN(model.engine, engine::Engine::Create(*model.image, engine_options));
  }
  for (const std::string& text : options.adapters) {
    ETCH_ASSIGN_OR_RETURN(const adapter::AdapterArgument argument,
                          adapter::ParseAdapterArgument(text));
    ETCH_ASSIGN_OR_RETURN(auto weights, adapter::LoadAdapter(argument.path, model.image->config()));
    ETCH_ASSIGN_OR_RETURN(const int32_t weight, adapter::ToWeightQ16(argument.weight));
    model.adapters.push_back({std::move(weights), weight});
  }
  return model;
}

}  // namespace etch::cli
