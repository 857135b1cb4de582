#pragma once

// The beginning and the end that every way of making an image shares.

#include <chrono>
#include <filesystem>

#include "compile/compile.h"
#include "compile/report.h"
#include "image/writer.h"

namespace etch::compile {

// kInvalidArgument for options outside of what the formats reach.
Status CheckOptions(const CompileOptions& options);

// Completes the image with its provenance and report, and fills in what the report derives: bits,
// shares, sizes, time since `start`. `bits` is the budget that was chosen; `text` is null without a
// calibration.
Result<CompileReport> FinishCompile(const ingest::SourceModel& source,
                                    const CompileOptions& options, double bits,
                                    const CalibrationText* text, const std::filesystem::path& out,
                                    std::chrono::steady_clock::time_point start,
                                    image::ImageWriter& writer, CompileReport report);

}  // namespace etch::compile
