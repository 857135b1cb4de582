#pragma once

// A calibration text as token sequences.

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/error.h"
#include "ingest/source_model.h"

namespace etch::compile {

struct CalibrationText {
  std::vector<std::vector<int32_t>> sequences;
  uint64_t size_bytes = 0;  // of the file
  uint64_t xxh3 = 0;        // of the file
};

// Reads `path` and cuts its first `max_tokens` tokens into sequences of at most 512 (less when the
// context is shorter), each begun as the vocabulary begins a text. kInvalidArgument when there is
// nothing to calibrate on.
Result<CalibrationText> ReadCalibrationText(const std::filesystem::path& path,
                                            const ingest::SourceModel& source, int64_t max_tokens);

}  // namespace etch::compile
