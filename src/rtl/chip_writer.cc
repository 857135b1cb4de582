#include "rtl/chip_writer.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <array>

#include "base/atomic_folder.h"
#include "rtl/chip_folder.h"
#include "rtl/fabric_files.h"
#include "rtl/masks.h"
#include "rtl/readme.h"

namespace etch::rtl {
namespace {

constexpr std::array<std::string_view, 7> kOwnNames = {
    "fabric", "masks", "sim", "chip.json", "INTERFACE.md", "README.md", "diagram.svg"};

class Hash {
 public:
  Hash() { XXH3_64bits_reset(state_.get()); }
  void Add(std::string_view name, std::string_view text) {
    for (const std::string_view part : {name, text}) {
      const uint64_t size = part.size();
      XXH3_64bits_update(state_.get(), &size, sizeof(size));
      XXH3_64bits_update(state_.get(), part.data(), part.size());
    }
  }
  uint64_t value() const { return XXH3_64bits_digest(state_.get()); }

 private:
  std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state_{XXH3_createState(),
                                                                  &XXH3_freeState};
};

}  // namespace

Result<ChipReport> WriteChip(const image::Image& image, const plan::HardwarePlan& plan,
                             const std::filesystem::path& path) {
  ETCH_ASSIGN_OR_RETURN(AtomicFolder folder, AtomicFolder::Create(path, kOwnNames));
  ChipReport report;
  Hash fabric;
  const auto add_fabric = [&](std::string_view name, std::string_view text) {
    fabric.Add(name, text);
    return folder.Write(fmt::format("fabric/{}", name), text);
  };
  for (const FabricFile& file : FabricFiles()) {
    ETCH_TRY(add_fabric(file.name, file.text));
  }
  ETCH_TRY(add_fabric("etch_top.sv", TopText(plan.fabric)));
  report.fabric_hash = fabric.value();
  Hash masks;
  for (const MaskFile& file : MakeMasks(image, plan)) {
    masks.Add(file.name, file.text);
    report.mask_bytes += std::ssize(file.text);
    ETCH_TRY(folder.Write("masks/" + file.name, file.text));
  }
  report.mask_hash = masks.value();
  ETCH_TRY(folder.Write("sim/chip_sim.cc", SimSource()));
  ETCH_TRY(folder.Write("chip.json", ChipJson(image, plan.fabric.choices)));
  ETCH_TRY(folder.Write("INTERFACE.md", InterfaceText()));
  ETCH_TRY(folder.Write("diagram.svg", DiagramSvg(image, plan)));
  ETCH_TRY(folder.Write("README.md", ReadmeText(image, plan)));
  ETCH_TRY(folder.Commit());
  return report;
}

}  // namespace etch::rtl
