#pragma once

// A chip in simulation as a backend of the engine: `etch run` and `etch serve --backend rtl`.
//
// A session of the engine is one of the chip's; adapters are written into its memory when a session
// needs them, in the place of the one that was used longest ago. The chip draws a token of its own
// behind each run, which is left aside: the engine's callers draw from the logits.

#include <memory>

#include "engine/backend.h"
#include "plan/hardware_plan.h"
#include "rtl/simulation.h"

namespace etch::rtl {

// `image` and `plan` must outlive the backend and be those of the simulation. NewState is kNoSpace
// when all sessions of the chip are taken or when the context is longer than the chip's. Forward is
// kUnsupported for several adapters at once and kInvalidArgument for one of too high a rank.
std::unique_ptr<engine::Backend> MakeChipBackend(const image::Image& image,
                                                 const plan::HardwarePlan& plan,
                                                 Simulation simulation);

}  // namespace etch::rtl
