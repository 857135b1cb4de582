#pragma once

// What a run will take, said before its first step, and refused when it cannot be had.

#include <cstdint>

#include "base/error.h"
#include "base/thread_pool.h"
#include "model/config.h"

namespace etch::cli {

struct RunSize {
  int64_t parameters = 0;   // trained values
  int64_t pass_tokens = 0;  // of the largest pass
  int64_t pass_targets = 0;
  int64_t passes_per_step = 1;
  int64_t image_bytes = 0;   // of a base that is read beside them
  bool all_weights = false;  // trained, not only adapters
  int64_t run_tokens = 0;    // of the whole run, validation included
};

struct Estimate {
  int64_t bytes = 0;
  bool recompute = false;
  double seconds = 0.0;
};

// `recompute` is "auto", "on" or "off"; auto recomputes when the memory that is free would be
// filled by more than two thirds otherwise. Time assumes half of the speed that the machine reaches
// in large products, measured now. kNoSpace when memory does not suffice, saying what would help.
Result<Estimate> EstimateRun(const model::Config& config, const RunSize& size,
                             const std::string& recompute, ThreadPool& pool);

}  // namespace etch::cli
