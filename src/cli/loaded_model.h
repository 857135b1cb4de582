#pragma once

// What every command that runs an image needs: the image, its tokenizer and template, an engine,
// and adapters.

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "cli/loaded_chip.h"
#include "engine/engine.h"
#include "engine/speculation.h"
#include "image/image.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace etch::cli {

// The options of the command line that say how to run an image.
struct RunOptions {
  std::string image;
  std::string backend = "cpu";
  std::string isa;
  int threads = 0;
  int64_t context = 0;
  std::string chip;                   // folder of a chip, for the rtl backend
  std::vector<std::string> adapters;  // PATH or PATH=WEIGHT
};

// Declares IMAGE (optional in a standalone executable), --backend, --threads, --isa, --context and,
// if wanted,
// --adapter.
void AddRunOptions(CLI::App& command, RunOptions& options, bool with_adapters);

struct LoadedModel {
  std::unique_ptr<image::Image> image;
  std::unique_ptr<text::Tokenizer> tokenizer;
  std::optional<text::ChatTemplate> chat_template;  // absent when the model has none
  std::unique_ptr<LoadedChip> chip;  // behind the engine of the rtl backend; otherwise null
  std::unique_ptr<engine::Engine> engine;
  std::vector<engine::ActiveAdapter> adapters;
};

// --speculate auto|off|always.
void AddSpeculateOption(CLI::App& command, engine::Speculation& speculation);

// `interrupted`: see EngineOptions.
Result<LoadedModel> LoadModel(const RunOptions& options,
                              const std::function<bool()>& interrupted = {});

// The image inside of this executable, or "" for the plain program.
const std::string& OwnImage();

}  // namespace etch::cli
