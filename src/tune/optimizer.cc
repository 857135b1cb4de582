#include "tune/optimizer.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace etch::tune {

Result<Schedule> ParseSchedule(std::string_view name) {
  for (const Schedule schedule : {Schedule::kConstant, Schedule::kLinear, Schedule::kCosine}) {
    if (name == ScheduleName(schedule)) {
      return schedule;
    }
  }
  return Fail(ErrorCode::kInvalidArgument,
              "no schedule \"{}\"; there are constant, linear and cosine", name);
}

std::string_view ScheduleName(Schedule schedule) {
  switch (schedule) {
    case Schedule::kConstant:
      return "constant";
    case Schedule::kLinear:
      return "linear";
    case Schedule::kCosine:
      return "cosine";
  }
  return "";
}

double LearningRate(const OptimizerSettings& settings, int64_t step, int64_t steps) {
  const auto rising = static_cast<int64_t>(std::ceil(settings.warmup * static_cast<double>(steps)));
  if (step < rising) {
    return settings.learning_rate * static_cast<double>(step + 1) / static_cast<double>(rising + 1);
  }
  const double through = static_cast<double>(step - rising) /
                         static_cast<double>(std::max<int64_t>(1, steps - rising));
  double share = 1.0;
  if (settings.schedule == Schedule::kLinear) {
    share = 1.0 - through;
  } else if (settings.schedule == Schedule::kCosine) {
    share = 0.5 * (1.0 + std::cos(std::numbers::pi * through));
  }
  return settings.learning_rate * (settings.floor + (1.0 - settings.floor) * share);
}

double Length(ThreadPool& pool, std::span<const float> values) {
  constexpr int64_t kRun = 16384;
  const int64_t runs = (std::ssize(values) + kRun - 1) / kRun;
  std::vector<double> sums(static_cast<size_t>(runs));
  pool.ParallelFor(runs, 1, [&](int64_t begin, int64_t end) {
    for (int64_t run = begin; run < end; ++run) {
      const auto first = static_cast<size_t>(run * kRun);
      for (const float value :
           values.subspan(first, std::min(static_cast<size_t>(kRun), values.size() - first))) {
        sums[static_cast<size_t>(run)] += static_cast<double>(value) * static_cast<double>(value);
      }
    }
  });
  double sum = 0.0;
  for (const double part : sums) {
    sum += part;
  }
  return std::sqrt(sum);
}

void AdamW::Step(ThreadPool& pool, const OptimizerSettings& settings, double rate, double scale,
                 std::span<const float> gradients, Parameters& parameters) {
  ++steps_;
  const auto power = static_cast<double>(steps_);
  const auto beta1 = static_cast<float>(settings.beta1);
  const auto beta2 = static_cast<float>(settings.beta2);
  // m / (1 - β1^t) · rate, and v / (1 - β2^t) under the root.
  const auto pace = static_cast<float>(rate / (1.0 - std::pow(settings.beta1, power)));
  const auto correction =
      static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(settings.beta2, power)));
  const auto epsilon = static_cast<float>(settings.epsilon);
  const auto factor = static_cast<float>(scale);
  for (const Parameters::Tensor& tensor : parameters.tensors()) {
    const float kept =
        tensor.decays ? static_cast<float>(1.0 - rate * settings.weight_decay) : 1.0F;
    const auto offset = static_cast<size_t>(tensor.offset);
    float* values = parameters.values().data() + offset;
    const float* gradient = gradients.data() + offset;
    float* first = first_.data() + offset;
    float* second = second_.data() + offset;
    constexpr int64_t kGrain = 16384;
    pool.ParallelFor(tensor.size(), kGrain, [&](int64_t begin, int64_t end) {
      for (int64_t index = begin; index < end; ++index) {
        const float slope = gradient[index] * factor;
        first[index] = beta1 * first[index] + (1.0F - beta1) * slope;
        second[index] = beta2 * second[index] + (1.0F - beta2) * slope * slope;
        values[index] = kept * values[index] -
                        pace * first[index] / (std::sqrt(second[index]) * correction + epsilon);
      }
    });
  }
}

}  // namespace etch::tune
