#pragma once

// What `etch bench` prints: a table for people, one JSON object for programs, rows of a CSV for
// bench/results/.

#include <string>

#include "base/error.h"
#include "cli/bench/measure.h"

namespace etch::cli {

std::string BenchTable(const BenchReport& report);
std::string BenchJson(const BenchReport& report);  // one line, without its end

// kMismatch when the file begins with another header than the rows have, kIo when it is there and
// cannot be read. A file that is missing or empty is fine. Asked before anything is measured.
Status CheckBenchCsv(const std::string& path);
// Appends the rows to the file, below a header when it is new or empty. Fails as CheckBenchCsv
// does, and with kIo when it cannot be written.
Status AppendBenchCsv(const BenchReport& report, const std::string& path);

}  // namespace etch::cli
