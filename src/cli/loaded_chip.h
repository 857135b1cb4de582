#pragma once

// The chip behind `--backend rtl`: one that `etch rtl` built, or one that is built for this run.

#include <filesystem>
#include <memory>
#include <string>

#include "base/error.h"
#include "engine/engine.h"
#include "plan/hardware_plan.h"

namespace etch::cli {

class LoadedChip {
 public:
  // `folder` is one that `etch rtl --verify` built; empty: a chip of the given choices is built in
  // a temporary folder, which takes half a minute and is removed at the end.
  static Result<std::unique_ptr<LoadedChip>> Load(const image::Image& image,
                                                  const std::string& folder,
                                                  const plan::Choices& choices);
  ~LoadedChip();

  // Starts the simulation behind an engine, which this must outlive.
  Result<std::unique_ptr<engine::Engine>> MakeEngine(const image::Image& image,
                                                     engine::EngineOptions options) const;

 private:
  LoadedChip() = default;

  plan::HardwarePlan plan_;
  std::filesystem::path folder_;
  bool is_temporary_ = false;
};

}  // namespace etch::cli
