#include "cli/tune/training_line.h"

#include <fmt/format.h>
#include <unistd.h>

#include "cli/terminal.h"

namespace etch::cli {

TrainingLine::TrainingLine(tune::RunLog* log, bool quiet)
    : log_(log), quiet_(quiet), live_(!quiet && ::isatty(STDERR_FILENO) == 1) {}

TrainingLine::~TrainingLine() { Clear(); }

tune::TrainerEvents TrainingLine::Events() {
  tune::TrainerEvents events;
  events.step = [this](const tune::StepReport& report) { Step(report); };
  events.validation = [this](const tune::ValidationReport& report) { Validation(report); };
  events.interrupted = [this] { return Interrupted() || !status_; };
  return events;
}

void TrainingLine::Clear() {
  if (drawn_) {
    fmt::print(stderr, "\r\x1b[K");
    drawn_ = false;
  }
}

void TrainingLine::Step(const tune::StepReport& report) {
  const bool is_first = seconds_per_step_ == 0.0;
  const double share = is_first ? 1.0 : 0.1;
  loss_ += (report.loss - loss_) * share;
  seconds_per_step_ += (report.seconds - seconds_per_step_) * share;
  tokens_per_second_ +=
      (static_cast<double>(report.tokens) / report.seconds - tokens_per_second_) * share;
  if (log_ != nullptr && status_) {
    status_ = log_->Add(report);
  }
  if (!live_) {
    return;
  }
  const double left = seconds_per_step_ * static_cast<double>(report.steps - report.step);
  fmt::print(stderr,
             "\r\x1b[Kstep {}/{}  epoch {:.2f}  loss {:.4f}  rate {:.2e}  {:.0f} tokens/s  {} left",
             report.step, report.steps, report.epoch, loss_, report.rate, tokens_per_second_,
             HumanSeconds(left));
  drawn_ = true;
}

void TrainingLine::Validation(const tune::ValidationReport& report) {
  if (log_ != nullptr && status_) {
    status_ = log_->Add(report);
  }
  if (quiet_) {
    return;
  }
  Clear();
  fmt::print(stderr, "step {:<6}  loss {:.4f}  validation {:.4f}{}  {:.0f} tokens/s\n", report.step,
             loss_, report.loss, report.is_best ? " (best)" : "", tokens_per_second_);
}

void TrainingLine::Show(const tune::TextSample& sample) {
  if (log_ != nullptr && status_) {
    status_ = log_->Add(sample);
  }
  if (quiet_) {
    return;
  }
  Clear();
  fmt::print(stderr, "  {:?} -> {:?}\n", sample.prompt, sample.text);
}

}  // namespace etch::cli
