#pragma once

// The two JSON texts that an image carries about itself. Nothing in them varies from run to run.

#include <string>
#include <vector>

#include "compile/calibration_text.h"
#include "compile/compile.h"

namespace etch::compile {

// {"etch", "contract", "recipe", "source": {…}, "options": {…}, "calibration": {…} or null}.
// Hashes are 16 hexadecimal digits of XXH3-64. `text` is null without a calibration.
std::string ProvenanceJson(const ingest::SourceModel& source, const CompileOptions& options,
                           double bits, const CalibrationText* text);

// {"bits_per_weight", "tensors": [{"name", "format", "input", "rows", "cols", "error", "bits",
// "share"}]}.
std::string ReportJson(const CompileReport& report);

}  // namespace etch::compile
