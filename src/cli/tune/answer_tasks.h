#pragma once

// Samples of a dataset as questions that a model answers.

#include <cstdint>
#include <vector>

#include "eval/answers.h"
#include "tune/data/encode.h"

namespace etch::cli {

// The last answer of each sample, behind all that stands before it; the first `most` that have one.
// Text that is trained from its start has none.
std::vector<eval::AnswerTask> AnswerTasks(const tune::SampleSet& set, int64_t most);

}  // namespace etch::cli
