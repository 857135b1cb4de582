#include "rtl/chip_folder.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/file.h"

namespace etch::rtl {
namespace {

std::string FingerprintOf(const image::Image& image) {
  return fmt::format("{:016x}", image.fingerprint());
}

}  // namespace

std::string ChipJson(const image::Image& image, const plan::Choices& choices) {
  const nlohmann::ordered_json json = {
      {"image", FingerprintOf(image)},        {"lanes", choices.lanes},
      {"context", choices.context},           {"sessions", choices.sessions},
      {"adapter_rank", choices.adapter_rank}, {"adapter_slots", choices.adapter_slots}};
  return json.dump(2) + "\n";
}

Result<plan::Choices> ReadChoices(const image::Image& image, const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "chip.json";
  ETCH_ASSIGN_OR_RETURN(const std::string text, ReadSmallFile(path));
  const auto json = nlohmann::json::parse(text, nullptr, false);
  try {
    if (json.at("image").get<std::string>() != FingerprintOf(image)) {
      return Fail(ErrorCode::kMismatch, "{}: the chip is of another image; write it again",
                  path.string());
    }
    plan::Choices choices;
    choices.lanes = json.at("lanes");
    choices.context = json.at("context");
    choices.sessions = json.at("sessions");
    choices.adapter_rank = json.at("adapter_rank");
    choices.adapter_slots = json.at("adapter_slots");
    return choices;
  } catch (const nlohmann::json::exception& error) {
    return Fail(ErrorCode::kMalformed, "{}: {}", path.string(), error.what());
  }
}

bool IsBuilt(const std::filesystem::path& folder) {
  std::error_code ignored;
  return std::filesystem::exists(folder / "sim" / "obj" / "chip_sim", ignored);
}

}  // namespace etch::rtl
