#include "rtl/chip_writer.h"

#include <fmt/format.h>
#include <openssl/evp.h>

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

// SHA-256 of named files.
class Hash {
 public:
  Hash() { ETCH_CHECK(EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1); }

  void Add(std::string_view name, std::string_view text) {
    for (const std::string_view part : {name, text}) {
      const std::string size = fmt::format("{}:", part.size());
      Update(size);
      Update(part);
    }
  }

  // Ends the hash.
  std::string Hex() {
    std::array<unsigned char, 32> digest{};
    ETCH_CHECK(EVP_DigestFinal_ex(context_.get(), digest.data(), nullptr) == 1);
    std::string text;
    for (const unsigned char byte : digest) {
      text += fmt::format("{:02x}", byte);
    }
    return text;
  }

 private:
  void Update(std::string_view bytes) {
    ETCH_CHECK(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1);
  }

  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_{EVP_MD_CTX_new(),
                                                                   &EVP_MD_CTX_free};
};

// The fabric is narrower than what the chip model can plan.
Status CheckFabric(const plan::Choices& choices) {
  constexpr int64_t kMaxLanes = 65536;
  plan::Choices narrow = choices;
  const plan::Choices built;
  narrow.splits = built.splits;
  narrow.vector_width = built.vector_width;
  narrow.attention_width = built.attention_width;
  narrow.adapter_lanes = built.adapter_lanes;
  narrow.stages = built.stages;
  if (choices.lanes > kMaxLanes || choices != narrow) {
    return Fail(ErrorCode::kUnsupported,
                "the fabric has at most {} lanes, one lane a row, units of one element a cycle and "
                "one layer in flight; wider chips can be estimated only",
                kMaxLanes);
  }
  return {};
}

}  // namespace

Result<ChipReport> WriteChip(const image::Image& image, const plan::HardwarePlan& plan,
                             const std::filesystem::path& path) {
  ETCH_TRY(CheckFabric(plan.fabric.choices));
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
  report.fabric_sha256 = fabric.Hex();
  Hash masks;
  for (const MaskFile& file : MakeMasks(image, plan)) {
    masks.Add(file.name, file.text);
    report.mask_bytes += std::ssize(file.text);
    ETCH_TRY(folder.Write("masks/" + file.name, file.text));
  }
  report.masks_sha256 = masks.Hex();
  ETCH_TRY(folder.Write("sim/chip_sim.cc", SimSource()));
  ETCH_TRY(folder.Write("sim/observe.vlt", ObservedSignals()));
  ETCH_TRY(folder.Write("chip.json", ChipJson(image, plan.fabric.choices)));
  ETCH_TRY(folder.Write("INTERFACE.md", InterfaceText()));
  ETCH_TRY(folder.Write("diagram.svg", DiagramSvg(image, plan)));
  ETCH_TRY(folder.Write("README.md", ReadmeText(image, plan)));
  ETCH_TRY(folder.Commit());
  return report;
}

}  // namespace etch::rtl
