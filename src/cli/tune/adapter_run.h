#pragma once

// A dataset becomes an adapter.

#include "base/error.h"
#include "cli/tune/tune_options.h"

namespace etch::cli {

// Runs to the end, prints, writes OUT. kCancelled when interrupted, with the checkpoint written.
Status TuneAdapter(const TuneOptions& options);

}  // namespace etch::cli
