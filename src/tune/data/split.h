#pragma once

// Which rows are held out.

#include <cstdint>
#include <optional>
#include <vector>

#include "tune/data/dataset.h"

namespace etch::tune {

struct SplitOptions {
  // Of the rows, 0 … 1 (0: none). Without it: 5 %, at least 16 and at most 128 rows, and none of
  // fewer than 32 rows, as Unsloth does.
  std::optional<double> validation = {};
  uint64_t seed = 3407;
};

// Indices into the dataset's examples, ascending; each is in one of them.
struct Split {
  std::vector<int64_t> train;
  std::vector<int64_t> validation;
};

// Rows with the same normalised prompt stay together, so validation holds at most as many rows as
// asked for, and none when all share one prompt. Deterministic by seed. kInvalidArgument for a
// fraction outside of [0, 1).
Result<Split> SplitRows(const Dataset& dataset, const SplitOptions& options = {});

}  // namespace etch::tune
