#pragma once

// AdamW, its learning-rate schedule and clipping.

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/thread_pool.h"
#include "tune/parameters.h"

namespace etch::tune {

enum class Schedule { kConstant, kLinear, kCosine };
Result<Schedule> ParseSchedule(std::string_view name);
std::string_view ScheduleName(Schedule schedule);

struct OptimizerSettings {
  double learning_rate = 2e-4;  // the highest
  Schedule schedule = Schedule::kCosine;
  double warmup = 0.03;  // share of all steps in which the rate rises from zero
  double floor = 0.1;    // share of the highest rate that the schedule ends at
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0.0;
  double clip = 1.0;  // longest gradient; 0: any
};

// Rate of step `step` (from 0) of `steps`.
double LearningRate(const OptimizerSettings& settings, int64_t step, int64_t steps);

// Euclidean length, the same for any number of threads.
double Length(ThreadPool& pool, std::span<const float> values);

// Loshchilov and Hutter 2019: moments of the gradient with bias correction, decay apart from them.
class AdamW {
 public:
  explicit AdamW(const Parameters& parameters)
      : first_(parameters.values().size()), second_(parameters.values().size()) {}

  // One step with `scale` · gradients at rate `rate`.
  void Step(ThreadPool& pool, const OptimizerSettings& settings, double rate, double scale,
            std::span<const float> gradients, Parameters& parameters);

  // State, for checkpoints.
  std::span<float> first() { return first_; }
  std::span<float> second() { return second_; }
  std::span<const float> first() const { return first_; }
  std::span<const float> second() const { return second_; }
  int64_t steps() const { return steps_; }
  void set_steps(int64_t steps) { steps_ = steps; }

 private:
  std::vector<float> first_;
  std::vector<float> second_;
  int64_t steps_ = 0;
};

}  // namespace etch::tune
