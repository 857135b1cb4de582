#pragma once

// A chip in simulation beside the engine: every token, every logit, and the cycles beside the
// plan's.

#include <functional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/progress.h"
#include "engine/engine.h"
#include "numerics/sampler.h"
#include "rtl/simulation.h"

namespace etch::rtl {

// A prompt, and how many tokens are drawn behind it.
struct VerifyCase {
  std::vector<engine::TokenId> prompt;
  int64_t tokens = 0;
  // Null: the base alone. It is loaded into slot `slot` before the run.
  std::shared_ptr<const engine::AdapterWeights> adapter;
  int64_t slot = 0;
  numerics::SamplingConfig sampling;  // greedy, or top-k of at most 8
};

struct VerifyReport {
  int64_t tokens = 0;             // drawn by the chip
  int64_t positions = 0;          // tokens that went through it, those of prompts too
  int64_t logits = 0;             // compared
  int64_t mismatches = 0;         // tokens and logits that differ
  std::string first_mismatch;     // of a vector, where vectors are compared
  int64_t vectors = 0;            // compared on the way of all positions
  int64_t vector_elements = 0;    // their words, codes and shifts
  int64_t vector_mismatches = 0;  // elements, tokens and steps that differ
  int64_t cycles = 0;             // as the chip counted
  int64_t planned_cycles = 0;
  double seconds = 0.0;  // that the simulation took
};

// Adds to `report` what one case shows. Both begin with an empty context. `vectors`: every vector
// between units is compared too, by a simulation that was built for it (BuildSimulation).
Status VerifyOne(Simulation& simulation, engine::Engine& engine, const plan::HardwarePlan& plan,
                 const VerifyCase& test, VerifyReport& report, bool vectors = false);

}  // namespace etch::rtl
