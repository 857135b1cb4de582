#pragma once

// What `etch export` and `etch adapter export` share.

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "export/parity.h"

namespace etch::cli {

// --check-tokens and --threads.
void AddCheckOptions(CLI::App& command, exporting::CheckOptions& options);

nlohmann::ordered_json ParityJson(const exporting::Parity& parity);

}  // namespace etch::cli
