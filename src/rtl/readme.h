#pragma once

// What a reader of a chip's folder reads first.

#include <string>

#include "image/image.h"
#include "plan/hardware_plan.h"

namespace etch::rtl {

// README.md: what each file is, the sizes of the memories, and what a token does when.
std::string ReadmeText(const image::Image& image, const plan::HardwarePlan& plan);

// diagram.svg: the units and memories, and what flows between them.
std::string DiagramSvg(const image::Image& image, const plan::HardwarePlan& plan);

}  // namespace etch::rtl
