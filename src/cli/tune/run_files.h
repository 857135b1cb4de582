#pragma once

// Where a run keeps what it needs to go on: the folder OUT.run beside the result OUT. And how its
// processes end together.

#include <filesystem>

#include "base/error.h"
#include "tune/group.h"

namespace etch::cli {

struct RunFiles {
  std::filesystem::path folder;

  std::filesystem::path log() const { return folder / "log.jsonl"; }
  std::filesystem::path report() const { return folder / "report.html"; }
};

// Makes the folder. kInvalidArgument when a run is under way in it and neither `resume` nor
// `restart` is given; `restart` removes that run's files.
Result<RunFiles> OpenRunFolder(const std::filesystem::path& out, bool resume, bool restart);

// After an error in one process of several: says it and ends the others, which would wait for this
// one. An interruption reaches all by itself.
void AbandonGroup(tune::Group& group, const Error& error);

}  // namespace etch::cli
