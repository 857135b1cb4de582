#pragma once

// The folder that `etch rtl` writes:
//
//   fabric/   SystemVerilog that depends on the shape only: the fabric and etch_top.sv
//   masks/    etch_masks.sv and the contents of its memories: the model
//   sim/      a program around the verilated chip, which rtl/simulation.h speaks to
//   chip.json the choices, and of which image it is
//   README.md, diagram.svg, INTERFACE.md

#include <filesystem>
#include <string>

#include "base/error.h"
#include "base/progress.h"
#include "image/image.h"
#include "plan/hardware_plan.h"

namespace etch::rtl {

struct ChipReport {
  std::string fabric_sha256;  // of all files of fabric/, names and sizes included
  std::string masks_sha256;   // likewise of masks/
  int64_t mask_bytes = 0;
};

// Whole or not at all; in the place of an older folder of the kind, never of anything else.
Result<ChipReport> WriteChip(const image::Image& image, const plan::HardwarePlan& plan,
                             const std::filesystem::path& path);

}  // namespace etch::rtl
