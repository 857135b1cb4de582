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
  uint64_t fabric_hash = 0;  // XXH3 of all files of fabric/, names included
  uint64_t mask_hash = 0;    // likewise of masks/
  int64_t mask_bytes = 0;
};

// Whole or not at all; in the place of an older folder of the kind, never of anything else.
Result<ChipReport> WriteChip(const image::Image& image, const plan::HardwarePlan& plan,
                             const std::filesystem::path& path);

}  // namespace etch::rtl
