#pragma once

// Uncertainty: every result with the range that its inputs' ranges give it, and the inputs that
// matter most. One input at a time goes to its low and its high; the changes are taken as
// independent factors, whose logarithms add up as squares.

#include <string>
#include <vector>

#include "chip/estimate.h"

namespace etch::chip {

// What one input's range does to a metric.
struct Influence {
  std::string quantity;
  double at_low = 0.0;  // the metric when the quantity is low
  double at_high = 0.0;
};

struct Ranged {
  double value = 0.0;
  double low = 0.0;
  double high = 0.0;
  std::vector<Influence> influences;  // the three that matter most, greatest first
};

struct Estimate {
  std::vector<Block> blocks;    // at the stated values
  std::vector<Ranged> metrics;  // in the order of Metrics()

  const Ranged& Of(std::string_view metric) const { return metrics[MetricIndex(metric)]; }
};

Estimate EstimateOf(const Model& model, const Inputs& inputs);

}  // namespace etch::chip
