#pragma once

// The training loop: steps over packed sequences, validation, checkpoints, early stopping. Whatever
// interrupts a run, it continues from its last checkpoint bit for bit: everything random depends on
// the seed and the number of the step.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/thread_pool.h"
#include "tune/data/pack.h"
#include "tune/gradient_sum.h"
#include "tune/group.h"
#include "tune/network.h"
#include "tune/optimizer.h"
#include "tune/trained_model.h"

namespace etch::tune {

struct TrainerSettings {
  OptimizerSettings optimizer;
  double epochs = 3.0;
  int64_t max_steps = 0;       // 0: as the epochs say
  int64_t batch = 8;           // sequences a step, over all processes
  int64_t pass_tokens = 4096;  // of a pass, unless one sequence is longer
  bool recompute = false;      // see PassOptions
  uint64_t seed = 1;
  int64_t validate_every = 0;  // steps; 0: ten times a run, at least once an epoch
  int64_t patience = 0;        // validations without a better loss before a run ends; 0: never
  int64_t save_every = 50;     // steps between checkpoints
};

struct StepReport {
  int64_t step = 0;   // that was done, from 1
  int64_t steps = 0;  // of the whole run
  double epoch = 0.0;
  double loss = 0.0;  // mean over the step's targets
  double rate = 0.0;
  double gradient_length = 0.0;  // before clipping
  int64_t tokens = 0;            // that were run
  double seconds = 0.0;
};

struct ValidationReport {
  int64_t step = 0;
  double loss = 0.0;
  bool is_best = false;
};

// What a run tells. Any may be empty.
struct TrainerEvents {
  std::function<void(const StepReport&)> step;
  std::function<void(const ValidationReport&)> validation;
  // Asked between passes and between the layers of one; once it says true, it always does.
  std::function<bool()> interrupted;
};

struct TrainerResult {
  int64_t steps = 0;  // done in the whole run
  int64_t planned_steps = 0;
  double train_loss = 0.0;  // mean of the last steps, at most 20
  double validation_loss = 0.0;
  int64_t best_step = 0;  // whose weights the model holds; 0: no validation, the last
  bool stopped_early = false;
  bool interrupted = false;  // a checkpoint is written; the model is not at its end
};

// Steps in which every one of `sequences` is read once, and those of a whole run over them.
int64_t StepsPerEpoch(const TrainerSettings& settings, int64_t sequences);
int64_t PlannedSteps(const TrainerSettings& settings, int64_t sequences);

class Trainer {
 public:
  // All must outlive the trainer. `folder` holds checkpoints; empty: none are written.
  // `fingerprint` names the data and what is trained: a checkpoint of another, or of a run with
  // other settings, is refused.
  Trainer(TrainedModel& model, ThreadPool& pool, Group& group, const TrainerSettings& settings,
          std::vector<Sequence> train, std::vector<Sequence> validation,
          std::filesystem::path folder, std::string fingerprint);

  int64_t step() const { return state_.step; }  // that is done

  // Continues from the folder's checkpoint; false when there is none. kMismatch when it is of other
  // data or settings.
  Result<bool> Resume();

  // Runs to the end, or until interrupted. With validation sequences and a folder the model then
  // holds the best weights, otherwise the last.
  Result<TrainerResult> Run(const TrainerEvents& events);

 private:
  struct State {  // what a checkpoint holds beside the weights
    int64_t step = 0;
    int64_t validated = 0;  // the last step behind which the loss was measured
    double best_loss = 0.0;
    int64_t best_step = 0;
    int64_t worse = 0;  // validations since the best
    std::vector<double> recent;
  };

  std::vector<Batch> Passes(int64_t step) const;
  Status Advance(const TrainerEvents& events);
  Result<StepReport> Step(int64_t step, const TrainerEvents& events);
  bool IsValidationDue() const;
  Status Validate(const TrainerEvents& events);
  // Mean loss of a target over the validation sequences, by all processes.
  Result<double> ValidationLoss(const TrainerEvents& events);
  Status Save() const;
  std::filesystem::path BestPath(int64_t step) const;
  Status LoadBest();

  TrainedModel& model_;
  ThreadPool& pool_;
  Group& group_;
  TrainerSettings settings_;
  std::vector<Sequence> train_;
  std::vector<Sequence> validation_;
  std::filesystem::path folder_;
  std::string fingerprint_;
  int64_t steps_per_epoch_ = 0;
  int64_t planned_steps_ = 0;
  int64_t validate_every_ = 0;
  Network network_;
  GradientSum sum_;
  AdamW optimizer_;
  State state_;
};

// Sequences as one batch: targets are the tokens that follow inside of a segment and are trained.
Batch MakeBatch(std::span<const Sequence* const> sequences);

}  // namespace etch::tune
