#pragma once

// The chip in time: tokens of one or many users on their way through its stages, event by event.
// A stage is a run of layers with units of its own; it works on one token (or one batch of prompt
// tokens) at a time, in order of arrival. How long that takes is the sum of the plan's steps, which
// the Verilated chip takes cycle for cycle; a chip of one stage therefore takes exactly
// plan::TokenCycles a token.

#include <cstdint>
#include <vector>

#include "plan/hardware_plan.h"

namespace etch::chip {

struct Load {
  int64_t users = 1;
  int64_t prompt = 1024;  // tokens of each user's prompt; at least 1
  int64_t output = 1024;  // tokens drawn for each; at least 1
  bool adapter = false;   // all of them with one
  int64_t swap_cycles = 0;  // until a user's adapter is on the chip; users' uploads queue

  bool operator==(const Load&) const = default;
};

struct PipelineOptions {
  int64_t chips = 1;         // stages are spread over them evenly
  int64_t link_cycles = 0;   // from a chip to the next, and from the last to the first
  int64_t prompt_batch = 1;  // prompt tokens of a user that share a reading of the weights

  bool operator==(const PipelineOptions&) const = default;
};

struct PipelineResult {
  int64_t cycles = 0;  // until the last token is drawn
  double first_token_cycles = 0.0;  // from a user's arrival (all at 0) to the first token; mean
  double prompt_cycles_per_token = 0.0;  // the first user's prompt, from its first cycle
  double cycles_per_token = 0.0;  // between tokens of a user; mean. 0 with one token each
  double tokens_per_cycle = 0.0;  // of all users, between the first and the last token drawn
  std::vector<double> busy;       // share of time that each stage works
};

// `load` fits the plan's context: prompt + output - 1 <= context.
PipelineResult Simulate(const plan::HardwarePlan& plan, const PipelineOptions& options,
                        const Load& load);

}  // namespace etch::chip
