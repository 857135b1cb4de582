#pragma once

// The fabric's sources, src/rtl/fabric/*.sv, as the program carries them; and its top, which gives
// them a shape.

#include <span>
#include <string>
#include <string_view>

#include "plan/hardware_plan.h"

namespace etch::rtl {

struct FabricFile {
  std::string_view name;
  std::string_view text;
};

// Sorted by name.
std::span<const FabricFile> FabricFiles();

// chip_sim.cc, the program around a verilated chip.
std::string_view SimSource();

// observe.vlt: the signals that the program looks at when it observes vectors.
std::string_view ObservedSignals();

// docs/chip.md: how the units work together, and the host port.
std::string_view InterfaceText();

// etch_top.sv: etch_chip with the parameters of a shape, under the chip's own name. The same text
// for all models of that shape.
std::string TopText(const plan::Fabric& fabric);

}  // namespace etch::rtl
