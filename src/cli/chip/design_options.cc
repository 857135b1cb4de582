#include "cli/chip/design_options.h"

#include <fmt/format.h>

#include <charconv>
#include <filesystem>

#include "image/image.h"

namespace etch::cli {
namespace {

// "0.75" or "0.75:0.7:0.8".
Status Parse(const std::string& text, chip::Quantity& quantity) {
  double numbers[3] = {};
  size_t count = 0;
  const char* at = text.data();
  const char* const end = at + text.size();
  while (count < 3) {
    const auto [next, error] = std::from_chars(at, end, numbers[count]);
    if (error != std::errc()) {
      break;
    }
    ++count;
    at = next;
    if (at == end || *at != ':') {
      break;
    }
    ++at;
  }
  if (at != end || (count != 1 && count != 3)) {
    return Fail(ErrorCode::kInvalidArgument,
                "--set {}={}: a number is needed, or value:low:high", quantity.name, text);
  }
  quantity.value = numbers[0];
  quantity.low = count == 3 ? numbers[1] : numbers[0];
  quantity.high = count == 3 ? numbers[2] : numbers[0];
  if (!(quantity.low <= quantity.value && quantity.value <= quantity.high)) {
    return Fail(ErrorCode::kInvalidArgument, "--set {}={}: low, value and high are not in order",
                quantity.name, text);
  }
  return {};
}

Status Set(const std::string& setting, chip::Inputs& inputs) {
  const size_t equals = setting.find('=');
  const std::string name = setting.substr(0, equals);
  const chip::Quantity* known = inputs.Find(name);
  if (equals == std::string::npos || known == nullptr) {
    return Fail(ErrorCode::kInvalidArgument,
                "--set {}: NAME=VALUE is needed, with a name that `etch chip … --inputs` lists",
                setting);
  }
  chip::Quantity quantity = *known;
  quantity.source = "--set";
  quantity.assumed = true;
  ETCH_TRY(Parse(setting.substr(equals + 1), quantity));
  return inputs.Replace(quantity);
}

void Apply(const DesignOptions& options, chip::Design& design) {
  plan::Choices& choices = design.choices;
  const auto set = [](const auto& from, auto& into) {
    if (from) {
      into = *from;
    }
  };
  set(options.lanes, choices.lanes);
  set(options.splits, choices.splits);
  set(options.vector_width, choices.vector_width);
  set(options.attention_width, choices.attention_width);
  set(options.adapter_lanes, choices.adapter_lanes);
  set(options.layers_in_flight, choices.stages);
  set(options.context, choices.context);
  set(options.users, choices.sessions);
  set(options.adapter_rank, choices.adapter_rank);
  set(options.adapter_slots, choices.adapter_slots);
  set(options.prompt_batch, design.prompt_batch);
  set(options.chips, design.chips);
  set(options.prompt, design.use.prompt);
  set(options.output, design.use.output);
  set(options.users_at_once, design.use.users);
  set(options.bits, design.weights.code_bits);
  set(options.voltage, design.voltage);
  design.use.adapter = design.use.adapter || options.adapter;
  design.use.swap = design.use.swap || options.swap;
}

}  // namespace

void AddDesignOptions(CLI::App& command, DesignOptions& options) {
  command.add_option("--tech", options.technology,
                     "Technology: unit, asap7, n6, n5, n3, n28, n65, sky130, or a .json file");
  const auto whole = [&](const char* name, std::optional<int64_t>& into, const char* help) {
    command.add_option(name, into, help)->check(CLI::Range(int64_t{0}, int64_t{1} << 24));
  };
  whole("--lanes", options.lanes, "Weights of the base a cycle, in each stage; a power of two");
  whole("--splits", options.splits, "Most lanes that share a row");
  whole("--vector-width", options.vector_width, "Elements a cycle of the units for vectors");
  whole("--attention-width", options.attention_width, "Blocks of 32 products of attention a cycle");
  whole("--adapter-lanes", options.adapter_lanes, "Weights of an adapter a cycle");
  whole("--layers-in-flight", options.layers_in_flight,
        "Stages with units of their own, each a run of layers");
  whole("--context", options.context, "Tokens of a user's context in SRAM");
  whole("--users", options.users, "Users whose contexts are in SRAM");
  whole("--adapter-rank", options.adapter_rank, "Largest rank of an adapter; 0: none");
  whole("--adapter-slots", options.adapter_slots, "Adapters in SRAM; 0: none");
  whole("--prompt-batch", options.prompt_batch, "Prompt tokens that share a reading of weights");
  whole("--chips", options.chips, "Chips of a model; 0: as many as the reticle asks for");
  whole("--prompt", options.prompt, "Tokens of the prompt that speed is stated for");
  whole("--output", options.output, "Tokens of the answer that speed is stated for");
  whole("--users-at-once", options.users_at_once, "Users at work that speed is stated for");
  command.add_flag("--with-adapter", options.adapter, "State speed and energy with an adapter");
  command.add_flag("--with-swap", options.swap, "The same, its upload before each prompt included");
  command.add_option("--bits", options.bits, "Bits of a weight")->check(CLI::Range(1.0, 16.0));
  command.add_option("--voltage", options.voltage, "Supply, in V; the clock follows")
      ->check(CLI::Range(0.1, 5.0));
  command.add_option("--set", options.set,
                     "NAME=VALUE or NAME=VALUE:LOW:HIGH: an input of the model; repeat for several");
}

Result<ChosenDesign> ChooseDesign(const std::string& what, const DesignOptions& options) {
  ChosenDesign chosen;
  std::error_code ignored;
  if (what.ends_with(".etch") ||
      (!what.ends_with(".json") && std::filesystem::is_regular_file(what, ignored))) {
    ETCH_ASSIGN_OR_RETURN(const image::Image image, image::Image::Open(what, 0));
    plan::Choices choices;
    choices.context = options.context.value_or(0);
    ETCH_ASSIGN_OR_RETURN(
        chosen.design,
        chip::DesignOf(image, std::filesystem::path(what).stem().string(), choices));
    chosen.is_image = true;
  } else {
    ETCH_ASSIGN_OR_RETURN(chosen.design, chip::LoadDesign(what));
  }
  if (!options.technology.empty()) {
    chosen.design.technology = options.technology;
  }
  Apply(options, chosen.design);
  ETCH_ASSIGN_OR_RETURN(chosen.inputs, chip::LoadInputs(chosen.design.technology));
  for (const chip::Quantity& quantity : chosen.design.replaced) {
    ETCH_TRY(chosen.inputs.Replace(quantity));
  }
  for (const std::string& setting : options.set) {
    ETCH_TRY(Set(setting, chosen.inputs));
  }
  return chosen;
}

}  // namespace etch::cli
