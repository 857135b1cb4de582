#pragma once

// `etch chip`: which chip, and what is changed about it.

#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <vector>

#include "chip/design.h"
#include "chip/inputs.h"

namespace etch::cli {

// What the command line asks to be otherwise than in the image or preset.
struct DesignOptions {
  std::string technology;
  std::optional<int64_t> lanes, splits, vector_width, attention_width, adapter_lanes;
  std::optional<int64_t> layers_in_flight, context, users, adapter_rank, adapter_slots;
  std::optional<int64_t> prompt_batch, chips, prompt, output, users_at_once;
  std::optional<double> bits, voltage;
  bool adapter = false;
  bool swap = false;
  std::vector<std::string> set;  // NAME=VALUE or NAME=VALUE:LOW:HIGH
};
void AddDesignOptions(CLI::App& command, DesignOptions& options);

struct ChosenDesign {
  chip::Design design;
  chip::Inputs inputs;
  bool is_image = false;
};
// `what` is a preset, an image or a .json file.
Result<ChosenDesign> ChooseDesign(const std::string& what, const DesignOptions& options);

}  // namespace etch::cli
