#include "chip/ranges.h"

#include <algorithm>
#include <cmath>

namespace etch::chip {
namespace {

constexpr size_t kInfluences = 3;

// Adds what a quantity's low and high do to a metric to the squares of its range.
struct Spread {
  double below = 0.0;
  double above = 0.0;

  void Add(double change) { (change < 0.0 ? below : above) += change * change; }
};

double Swing(const Influence& influence) {
  return std::abs(influence.at_high - influence.at_low);
}

}  // namespace

Estimate EstimateOf(const Model& model, const Inputs& inputs) {
  Values values = inputs.Nominal();
  Figures stated = model.Evaluate(values);
  const size_t count = stated.metrics.size();
  std::vector<Spread> spreads(count);
  std::vector<std::vector<Influence>> influences(count);
  for (const Quantity& quantity : inputs.quantities) {
    if (quantity.low == quantity.high) {
      continue;
    }
    const auto at = [&](double value) {
      values[quantity.name] = value;
      return model.Evaluate(values).metrics;
    };
    const std::vector<double> low = at(quantity.low);
    const std::vector<double> high = at(quantity.high);
    values[quantity.name] = quantity.value;
    for (size_t metric = 0; metric < count; ++metric) {
      spreads[metric].Add(low[metric] - stated.metrics[metric]);
      spreads[metric].Add(high[metric] - stated.metrics[metric]);
      if (low[metric] != high[metric]) {
        influences[metric].push_back({quantity.name, low[metric], high[metric]});
      }
    }
  }
  Estimate estimate;
  estimate.blocks = std::move(stated.blocks);
  for (size_t metric = 0; metric < count; ++metric) {
    Ranged ranged;
    ranged.value = stated.metrics[metric];
    // No metric is ever negative; squares of large changes could say so.
    ranged.low = std::max(0.0, ranged.value - std::sqrt(spreads[metric].below));
    ranged.high = ranged.value + std::sqrt(spreads[metric].above);
    auto& all = influences[metric];
    std::ranges::stable_sort(all, std::greater<>(), Swing);
    all.resize(std::min(all.size(), kInfluences));
    ranged.influences = std::move(all);
    estimate.metrics.push_back(std::move(ranged));
  }
  return estimate;
}

}  // namespace etch::chip
