// etch rtl: an image as a chip in SystemVerilog, and that chip in simulation beside the engine.

#include <fmt/format.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "adapter/adapter.h"
#include "base/bytes.h"
#include "cli/commands.h"
#include "cli/loaded_model.h"
#include "cli/terminal.h"
#include "plan/hardware_plan.h"
#include "rtl/audit.h"
#include "rtl/chip_writer.h"
#include "rtl/simulation.h"
#include "rtl/verify.h"
#include "text/tokenizer.h"

namespace etch::cli {
namespace {

struct Options {
  std::string image;
  std::string out;
  plan::Choices choices;
  bool verify = false;
  bool vectors = false;
  int64_t tokens = 64;
  std::vector<std::string> prompts;
  std::vector<std::string> adapters;
  int threads = 0;
  bool quiet = false;
  bool json = false;
};

// A prompt that was verified, and the cycles that the chip took for it.
struct VerifiedRun {
  int64_t prompt_tokens = 0;
  int64_t tokens = 0;
  bool adapter = false;
  int64_t cycles = 0;
};

struct Outcome {
  rtl::ChipReport chip;
  rtl::AuditReport audit;
  rtl::VerifyReport verify;
  std::vector<VerifiedRun> runs;
  double build_seconds = 0.0;
  int64_t base_cycles = 0;
  int64_t adapter_cycles = 0;  // 0: a chip without adapters
};

// Every prompt with the base and with each adapter in turn, greedily and by top-k in turn; together
// as many tokens as asked for.
Result<std::vector<rtl::VerifyCase>> Cases(const Options& options, const image::Image& image,
                                           const plan::HardwarePlan& plan) {
  ETCH_ASSIGN_OR_RETURN(const std::unique_ptr<text::Tokenizer> tokenizer,
                        text::Tokenizer::Create(image.vocabulary()));
  std::vector<std::shared_ptr<const engine::AdapterWeights>> adapters = {nullptr};
  for (const std::string& path : options.adapters) {
    ETCH_ASSIGN_OR_RETURN(auto weights, adapter::LoadAdapter(path, image.config()));
    ETCH_TRY(rtl::CheckAdapter(plan.fabric, *weights));
    adapters.push_back(std::move(weights));
  }
  const std::vector<std::string> prompts =
      options.prompts.empty()
          ? std::vector<std::string>{"Once upon a time", "The dog", "Can you tell me", "A", "We"}
          : options.prompts;
  numerics::SamplingParams params;
  params.temperature = 0.8;
  params.top_k = 8;
  params.top_p = 0.95;
  const auto count = std::ssize(prompts) * std::ssize(adapters);
  const int64_t each = (options.tokens + count - 1) / count;
  std::vector<rtl::VerifyCase> cases;
  int64_t left = options.tokens;
  for (const std::string& prompt : prompts) {
    for (size_t index = 0; index < adapters.size() && left > 0; ++index) {
      rtl::VerifyCase test;
      test.prompt = tokenizer->Encode(prompt);
      if (test.prompt.empty()) {
        test.prompt = {0};
      }
      const int64_t room =
          plan.fabric.choices.context - static_cast<int64_t>(test.prompt.size()) + 1;
      if (room < 1) {
        return Fail(ErrorCode::kInvalidArgument, "a prompt of {} tokens in a context of {}",
                    test.prompt.size(), plan.fabric.choices.context);
      }
      test.tokens = std::min({each, left, room});
      left -= test.tokens;
      test.adapter = adapters[index];
      test.slot = static_cast<int64_t>(index == 0 ? 0 : index - 1) %
                  std::max<int64_t>(1, plan.fabric.choices.adapter_slots);
      params.seed = cases.size();
      test.sampling =
          numerics::ToConfig(cases.size() % 2 == 0 ? numerics::SamplingParams{} : params);
      cases.push_back(std::move(test));
    }
  }
  return cases;
}

Status Verify(const Options& options, const image::Image& image, const plan::HardwarePlan& plan,
              const std::vector<rtl::VerifyCase>& cases, Outcome& outcome) {
  if (!options.quiet && !options.json) {
    fmt::print(stderr, "building the simulation\n");
  }
  ETCH_ASSIGN_OR_RETURN(outcome.audit, rtl::AuditMasks(image, plan, options.out));
  const auto begin = std::chrono::steady_clock::now();
  if (const Status status = rtl::BuildSimulation(options.out, options.vectors); !status) {
    // Ctrl-C reaches the compilers too.
    if (Interrupted()) {
      return Fail(ErrorCode::kCancelled, "interrupted");
    }
    return status;
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  outcome.build_seconds = seconds.count();
  ETCH_ASSIGN_OR_RETURN(rtl::Simulation simulation, rtl::Simulation::Start(options.out, plan));
  engine::EngineOptions engine_options;
  engine_options.threads = options.threads;
  ETCH_ASSIGN_OR_RETURN(const std::unique_ptr<engine::Engine> engine,
                        engine::Engine::Create(image, engine_options));
  ProgressLine progress(options.quiet || options.json);
  const ProgressFn tell = progress.Callback();
  for (const rtl::VerifyCase& test : cases) {
    const int64_t cycles_before = outcome.verify.cycles;
    ETCH_TRY(rtl::VerifyOne(simulation, *engine, plan, test, outcome.verify, options.vectors));
    outcome.runs.push_back({std::ssize(test.prompt), test.tokens, test.adapter != nullptr,
                            outcome.verify.cycles - cycles_before});
    if (!tell({"verifying", outcome.verify.tokens, options.tokens, "tokens"})) {
      return Fail(ErrorCode::kCancelled, "interrupted");
    }
  }
  return {};
}

Result<Outcome> Run(const Options& options) {
  ETCH_ASSIGN_OR_RETURN(const image::Image image,
                        image::Image::Open(options.image, options.threads));
  ETCH_ASSIGN_OR_RETURN(const plan::HardwarePlan plan, plan::MakePlan(image, options.choices));
  Outcome outcome;
  outcome.base_cycles = plan::TokenCycles(plan, 0, false, true);
  if (plan.fabric.rank > 0) {
    outcome.adapter_cycles = plan::TokenCycles(plan, 0, true, true);
  }
  std::vector<rtl::VerifyCase> cases;
  if (options.verify) {
    ETCH_ASSIGN_OR_RETURN(cases, Cases(options, image, plan));
  }
  ETCH_ASSIGN_OR_RETURN(outcome.chip, rtl::WriteChip(image, plan, options.out));
  if (options.verify) {
    ETCH_TRY(Verify(options, image, plan, cases, outcome));
  }
  return outcome;
}

std::string CyclesText(int64_t cycles) {
  return fmt::format("{} cycles: {:.0f} tokens/s at 1 GHz", cycles,
                     1e9 / static_cast<double>(cycles));
}

int Execute(const Options& options) {
  const Result<Outcome> outcome = Run(options);
  if (!outcome) {
    return Report(outcome.error());
  }
  const rtl::VerifyReport& verify = outcome->verify;
  const double positions = static_cast<double>(std::max<int64_t>(1, verify.positions));
  if (options.json) {
    nlohmann::ordered_json json = {{"out", options.out},
                                   {"fabric_sha256", outcome->chip.fabric_sha256},
                                   {"masks_sha256", outcome->chip.masks_sha256},
                                   {"first_token_cycles", outcome->base_cycles},
                                   {"first_token_cycles_adapter", nullptr}};
    if (outcome->adapter_cycles > 0) {
      json["first_token_cycles_adapter"] = outcome->adapter_cycles;
    }
    if (options.verify) {
      json["audited_weights"] = outcome->audit.weights;
      json["audited_wrong"] = outcome->audit.wrong;
      json["build_s"] = outcome->build_seconds;
      json["tokens"] = verify.tokens;
      json["positions"] = verify.positions;
      json["logits"] = verify.logits;
      json["mismatches"] = verify.mismatches;
      if (options.vectors) {
        json["vectors"] = verify.vectors;
        json["vector_elements"] = verify.vector_elements;
        json["vector_mismatches"] = verify.vector_mismatches;
      }
      json["cycles_per_token"] = static_cast<double>(verify.cycles) / positions;
      json["planned_cycles_per_token"] = static_cast<double>(verify.planned_cycles) / positions;
      json["tokens_per_s"] = positions / verify.seconds;
      nlohmann::ordered_json runs = nlohmann::ordered_json::array();
      for (const VerifiedRun& run : outcome->runs) {
        runs.push_back({{"prompt_tokens", run.prompt_tokens},
                        {"tokens", run.tokens},
                        {"adapter", run.adapter},
                        {"cycles", run.cycles}});
      }
      json["runs"] = std::move(runs);
    }
    PrintJson(json);
  } else if (!options.quiet) {
    fmt::print("chip         {}\nfabric       {}\nmasks        {}, {}\n", options.out,
               outcome->chip.fabric_sha256.substr(0, 16), outcome->chip.masks_sha256.substr(0, 16),
               HumanBytes(static_cast<double>(outcome->chip.mask_bytes)));
    fmt::print("first token  {}\n", CyclesText(outcome->base_cycles));
    if (outcome->adapter_cycles > 0) {
      fmt::print("  adapter    {}\n", CyclesText(outcome->adapter_cycles));
    }
    if (options.verify) {
      fmt::print("audited      {} weights, {} parameters: {} differ from the image\n",
                 outcome->audit.weights, outcome->audit.parameters, outcome->audit.wrong);
      fmt::print("verified     {} tokens, {} logits: {} differ\n", verify.tokens, verify.logits,
                 verify.mismatches);
      if (options.vectors) {
        fmt::print("vectors      {} of {} elements: {} differ\n", verify.vectors,
                   verify.vector_elements, verify.vector_mismatches);
      }
      fmt::print("cycles       {}, planned {}\n", verify.cycles, verify.planned_cycles);
      fmt::print("simulated    {:.1f} tokens/s, built in {}\n", positions / verify.seconds,
                 HumanSeconds(outcome->build_seconds));
    }
  }
  const bool differs = verify.mismatches > 0 || verify.vector_mismatches > 0;
  if (outcome->audit.wrong > 0 || differs || verify.cycles != verify.planned_cycles) {
    fmt::print(stderr, "etch: the chip differs from {}\n",
               outcome->audit.wrong > 0 ? "the image: " + outcome->audit.first_wrong
               : differs                ? "the engine: " + verify.first_mismatch
                                        : "its plan");
    return kExitFailed;
  }
  return 0;
}

}  // namespace

void AddRtl(CLI::App& app, int* exit_code) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("rtl", "Write the image as a chip in SystemVerilog; simulate it");
  command->footer(
      "DIR then holds the fabric, which depends on the model's shape only, and the masks, which\n"
      "are the model. --verify builds the chip with Verilator, runs prompts on it, with and\n"
      "without adapters, and compares every token and every logit with the engine, and the cycles\n"
      "that it counts with the plan. --vectors also compares every vector on a token's way, and\n"
      "names the first element that differs by token, layer and step.\n"
      "\n"
      "Examples:\n"
      "  etch rtl model.etch -o chip\n"
      "  etch rtl model.etch -o chip --lanes 128 --verify --tokens 100 --adapter clients/acme");
  options->image = OwnImage();
  CLI::Option* image = command->add_option("IMAGE", options->image, "Image made by `etch compile`");
  if (options->image.empty()) {
    image->required();
  }
  command->add_option("-o,--output", options->out, "Folder to write")->required();
  plan::Choices& choices = options->choices;
  command
      ->add_option("--lanes", choices.lanes,
                   "Weights of the base that are worked on in a cycle; a power of two")
      ->capture_default_str();
  command->add_option("--context", choices.context,
                      "Tokens of a session. Default: the model's, at most 512");
  command->add_option("--sessions", choices.sessions, "Sessions whose context is on the chip")
      ->capture_default_str();
  command
      ->add_option("--adapter-rank", choices.adapter_rank,
                   "Largest rank of an adapter; 0: a chip without adapters")
      ->capture_default_str();
  command->add_option("--adapter-slots", choices.adapter_slots, "Adapters that are on the chip")
      ->capture_default_str();
  CLI::Option* verify =
      command->add_flag("--verify", options->verify, "Simulate the chip beside the engine");
  command
      ->add_flag("--vectors", options->vectors,
                 "With --verify: compare every vector between units too")
      ->needs(verify);
  command->add_option("--tokens", options->tokens, "Tokens to verify, over all prompts")
      ->check(CLI::Range(int64_t{1}, int64_t{1'000'000}))
      ->capture_default_str();
  command->add_option("-p,--prompt", options->prompts, "Prompt to verify; repeat for several");
  command->add_option("--adapter", options->adapters,
                      "LoRA adapter to verify: a PEFT directory or a .gguf; repeat for several");
  command->add_option("-t,--threads", options->threads, "Threads of the engine. Default: all")
      ->check(CLI::Range(0, 1024));
  command->add_flag("-q,--quiet", options->quiet, "Print nothing but errors");
  command->add_flag("--json", options->json, "Print one JSON object");
  command->callback([options, exit_code] { *exit_code = Execute(*options); });
}

}  // namespace etch::cli
