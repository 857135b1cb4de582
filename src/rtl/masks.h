#pragma once

// The mask set: everything of a chip that differs between two models of one shape. Contents of the
// ROMs, the program, and etch_masks.sv, which holds them.

#include <string>
#include <vector>

#include "image/image.h"
#include "plan/hardware_plan.h"
#include "rtl/rom.h"

namespace etch::rtl {

struct MaskFile {
  std::string name;  // beneath masks/
  std::string text;
};

// The program of a plan, one step of 256 bits a word.
Rom MakeProgram(const plan::HardwarePlan& plan);

// etch_masks.sv and the *.hex files that it reads.
std::vector<MaskFile> MakeMasks(const image::Image& image, const plan::HardwarePlan& plan);

}  // namespace etch::rtl
