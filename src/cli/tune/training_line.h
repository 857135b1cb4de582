#pragma once

// What a run shows while it trains: one line on a terminal, drawn over and over, and a line that
// stays for each validation.

#include <string>
#include <vector>

#include "base/error.h"
#include "tune/run_log.h"
#include "tune/trainer.h"

namespace etch::cli {

class TrainingLine {
 public:
  // `quiet`: nothing is shown. Everything is also written to `log`, which may be null (a process
  // that is not the first of its group).
  TrainingLine(tune::RunLog* log, bool quiet);
  ~TrainingLine();

  // Events of a trainer; they refer to this.
  tune::TrainerEvents Events();
  // A text that the model wrote.
  void Show(const tune::TextSample& sample);
  // The first thing that went wrong in the log.
  Status status() const { return status_; }

 private:
  void Step(const tune::StepReport& report);
  void Validation(const tune::ValidationReport& report);
  void Clear();

  tune::RunLog* log_;
  bool quiet_;
  bool live_;
  bool drawn_ = false;
  Status status_;
  double loss_ = 0.0;  // running mean
  double seconds_per_step_ = 0.0;
  double tokens_per_second_ = 0.0;
};

}  // namespace etch::cli
