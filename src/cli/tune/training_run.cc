#include "cli/tune/training_run.h"

#include <fmt/format.h>

#include <optional>

#include "cli/terminal.h"
#include "tune/run_log.h"

namespace etch::cli {

Result<RunFiles> OpenRunFolder(const std::filesystem::path& out, bool resume, bool restart) {
  RunFiles files;
  files.folder = out.has_filename() ? out : out.parent_path();
  files.folder += ".run";
  const std::filesystem::path checkpoint = files.folder / "checkpoint.safetensors";
  std::error_code error;
  if (std::filesystem::exists(checkpoint, error) && !resume && !restart) {
    return Fail(ErrorCode::kInvalidArgument,
                "{}: a run has been here; --resume continues it, --restart begins anew",
                files.folder.string());
  }
  if (restart) {
    // Only what a run writes; a folder of someone else's keeps its files.
    if (std::filesystem::exists(files.folder, error)) {
      for (const auto& entry : std::filesystem::directory_iterator(files.folder, error)) {
        const std::string name = entry.path().filename().string();
        if (name == "checkpoint.safetensors" || name == "log.jsonl" || name == "report.html" ||
            (name.starts_with("best-") && name.ends_with(".safetensors"))) {
          std::filesystem::remove(entry.path(), error);
        }
      }
    }
  }
  std::filesystem::create_directories(files.folder, error);
  if (error) {
    return Fail(ErrorCode::kIo, "{}: cannot create: {}", files.folder.string(), error.message());
  }
  return files;
}

std::string ResultName(const std::filesystem::path& out) {
  return (out.has_filename() ? out : out.parent_path()).filename().string();
}

Result<Training> RunTraining(
    tune::Trainer& trainer, tune::Group& group, const RunFiles& files, const TuneOptions& options,
    const std::function<void(int64_t step, TrainingLine& line)>& show_sample) {
  const bool speaks = group.is_first() && !options.json;
  if (options.resume) {
    ETCH_ASSIGN_OR_RETURN(const bool resumed, trainer.Resume());
    if (speaks) {
      fmt::print("{}\n", resumed ? fmt::format("resumed      behind step {}", trainer.step())
                                 : "resumed      nothing: there is no checkpoint yet");
    }
  }
  std::fflush(stdout);
  std::optional<tune::RunLog> log;
  if (group.is_first()) {
    ETCH_ASSIGN_OR_RETURN(log, tune::RunLog::Open(files.log(), trainer.step()));
  }
  TrainingLine line(log ? &*log : nullptr, !speaks);
  tune::TrainerEvents events = line.Events();
  if (group.is_first() && show_sample) {
    events.validation = [&, tell = events.validation](const tune::ValidationReport& report) {
      tell(report);
      if (report.is_best && !Interrupted()) {
        show_sample(report.step, line);
      }
    };
  }
  Training training;
  ETCH_ASSIGN_OR_RETURN(training.result, trainer.Run(events));
  ETCH_TRY(line.status());
  if (training.result.interrupted) {
    return Fail(ErrorCode::kCancelled, "interrupted behind step {} of {}; --resume continues",
                training.result.steps, training.result.planned_steps);
  }
  if (log) {
    training.steps = log->steps();
    training.validations = log->validations();
  }
  return training;
}

void AbandonGroup(tune::Group& group, const Error& error) {
  if (group.size() > 1 && error.code != ErrorCode::kCancelled) {
    Report(error);
    group.Abandon();
  }
}

}  // namespace etch::cli
