#pragma once

// Text becomes a base: tokenizer and weights.

#include "base/error.h"
#include "cli/tune/tune_options.h"

namespace etch::cli {

// Runs to the end, prints, writes OUT as a Hugging Face directory. kCancelled when interrupted,
// with the checkpoint written.
Status TuneFromScratch(const TuneOptions& options);

}  // namespace etch::cli
