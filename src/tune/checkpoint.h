#pragma once

// Where a run stands, on disk: parameters, the optimiser's moments, and a text of the caller's. A
// safetensors file, written atomically; what is read back continues the run bit for bit.

#include <cstdint>
#include <filesystem>
#include <string>

#include "base/error.h"
#include "tune/optimizer.h"
#include "tune/parameters.h"

namespace etch::tune {

// `state` is JSON of the caller's: step, losses so far, fingerprints of settings and data.
Status WriteCheckpoint(const std::filesystem::path& path, const Parameters& parameters,
                       const AdamW& optimizer, const std::string& state);

// Fills parameters and optimiser, which have the run's shapes, and returns the state. kMismatch
// when the file is of other shapes or names; nothing is changed then.
Result<std::string> ReadCheckpoint(const std::filesystem::path& path, Parameters& parameters,
                                   AdamW& optimizer);

}  // namespace etch::tune
