#pragma once

// What the runs of an adapter and of a base have in common: the folder OUT.run beside the result
// OUT, where a run keeps what it needs to go on; the training itself, logged and shown; and how its
// processes end together.

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "base/error.h"
#include "cli/tune/training_line.h"
#include "cli/tune/tune_options.h"
#include "tune/group.h"
#include "tune/trainer.h"

namespace etch::cli {

struct RunFiles {
  std::filesystem::path folder;

  std::filesystem::path log() const { return folder / "log.jsonl"; }
  std::filesystem::path report() const { return folder / "report.html"; }
};

// Makes the folder. kInvalidArgument when a run is under way in it and neither `resume` nor
// `restart` is given; `restart` removes that run's files.
Result<RunFiles> OpenRunFolder(const std::filesystem::path& out, bool resume, bool restart);

// The last part of a path: "adapters/bakery/" is bakery.
std::string ResultName(const std::filesystem::path& out);

struct Training {
  tune::TrainerResult result;
  // Everything since the run's first step; empty in a process that is not the first.
  std::vector<tune::StepReport> steps;
  std::vector<tune::ValidationReport> validations;
};

// Runs a trainer to its end, from its checkpoint with options.resume, with a log in the folder and
// a line on the terminal. `show_sample`, if any, is called in the first process behind each
// validation that was the best. kCancelled when interrupted; --resume then goes on.
Result<Training> RunTraining(
    tune::Trainer& trainer, tune::Group& group, const RunFiles& files, const TuneOptions& options,
    const std::function<void(int64_t step, TrainingLine& line)>& show_sample = {});

// After an error in one process of several: says it and ends the others, which would wait for this
// one. An interruption reaches all by itself.
void AbandonGroup(tune::Group& group, const Error& error);

}  // namespace etch::cli
