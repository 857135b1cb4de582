#include "cli/loaded_chip.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "rtl/chip_backend.h"
#include "rtl/chip_folder.h"
#include "rtl/chip_writer.h"
#include "rtl/simulation.h"

namespace etch::cli {

Result<std::unique_ptr<LoadedChip>> LoadedChip::Load(const image::Image& image,
                                                     const std::string& folder,
                                                     const plan::Choices& choices) {
  std::unique_ptr<LoadedChip> chip(new LoadedChip());
  if (!folder.empty()) {
    chip->folder_ = folder;
    ETCH_ASSIGN_OR_RETURN(const plan::Choices built, rtl::ReadChoices(image, folder));
    ETCH_ASSIGN_OR_RETURN(chip->plan_, plan::MakePlan(image, built));
    if (!rtl::IsBuilt(folder)) {
      ETCH_TRY(rtl::BuildSimulation(folder));
    }
    return chip;
  }
  ETCH_ASSIGN_OR_RETURN(chip->plan_, plan::MakePlan(image, choices));
  std::error_code error;
  const std::filesystem::path temporary = std::filesystem::temp_directory_path(error);
  if (error) {
    return Fail(ErrorCode::kIo, "no folder for temporary files: {}", error.message());
  }
  chip->folder_ = temporary / fmt::format("etch-chip-{}", ::getpid());
  chip->is_temporary_ = true;
  ETCH_TRY(rtl::WriteChip(image, chip->plan_, chip->folder_));
  ETCH_TRY(rtl::BuildSimulation(chip->folder_));
  return chip;
}

LoadedChip::~LoadedChip() {
  if (is_temporary_) {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
}

Result<std::unique_ptr<engine::Engine>> LoadedChip::MakeEngine(
    const image::Image& image, engine::EngineOptions options) const {
  const int64_t most = plan_.fabric.choices.context;
  if (options.context > most) {
    return Fail(ErrorCode::kInvalidArgument, "--context {}: the chip's sessions have {}",
                options.context, most);
  }
  options.context = options.context > 0 ? options.context : most;
  ETCH_ASSIGN_OR_RETURN(rtl::Simulation simulation, rtl::Simulation::Start(folder_, plan_));
  return engine::Engine::Over(image, rtl::MakeChipBackend(image, plan_, std::move(simulation)),
                              "rtl", options);
}

}  // namespace etch::cli
