#pragma once

// chip.json of a chip's folder: what it was made from, so that it can be used again.

#include <filesystem>
#include <string>

#include "base/error.h"
#include "image/image.h"
#include "plan/hardware_plan.h"

namespace etch::rtl {

std::string ChipJson(const image::Image& image, const plan::Choices& choices);

// The choices of the chip in `folder`. kMismatch when it is of another image, kMalformed for a
// chip.json that is none.
Result<plan::Choices> ReadChoices(const image::Image& image, const std::filesystem::path& folder);

// Whether BuildSimulation has been run there.
bool IsBuilt(const std::filesystem::path& folder);

}  // namespace etch::rtl
