#pragma once

// The log of a run: one JSON object a line, appended as the run goes, and kept whole over
// interruptions.
//
//   {"step":12,"steps":90,"epoch":0.4,"loss":1.93,"rate":0.0002,"gradient":0.8,"tokens":4012,
//    "seconds":1.1}
//   {"step":30,"validation_loss":1.71,"best":true}
//   {"step":30,"prompt":"…","text":"…"}            what the model writes at that step

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "tune/trainer.h"

namespace etch::tune {

struct TextSample {
  int64_t step = 0;
  std::string prompt;
  std::string text;
};

class RunLog {
 public:
  // Opens `path` for a run that stands behind step `step`: what the file holds of later steps, or
  // all of it when `step` is 0, is removed, and so is a line that a crash cut.
  static Result<RunLog> Open(const std::filesystem::path& path, int64_t step);

  Status Add(const StepReport& report);
  Status Add(const ValidationReport& report);
  Status Add(const TextSample& sample);

  // Everything since the run's first step.
  const std::vector<StepReport>& steps() const { return steps_; }
  const std::vector<ValidationReport>& validations() const { return validations_; }

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };

  Status AddLine(const std::string& line);
  // One line of an earlier part of the run; false when it is none or of a step behind `step`.
  bool Remember(const std::string& line, int64_t step);

  std::filesystem::path path_;
  std::unique_ptr<std::FILE, Close> file_;
  std::vector<StepReport> steps_;
  std::vector<ValidationReport> validations_;
};

}  // namespace etch::tune
