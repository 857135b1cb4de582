#pragma once

// What `etch bench` says about the machine and the process: names and sizes from /proc. Where the
// system does not tell, the name is "unknown" and a size is 0.

#include <cstdint>
#include <filesystem>
#include <string>

namespace etch::cli {

std::string ProcessorName();
// Memory of this process that is in RAM now (RSS): shared pages count in full.
uint64_t ResidentBytes();
// This process's share of the pages of `file` that are mapped (PSS): pages that n processes map
// count an n-th each.
uint64_t MappedShareBytes(const std::filesystem::path& file);

}  // namespace etch::cli
