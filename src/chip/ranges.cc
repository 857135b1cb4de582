#include "chip/ranges.h"

#include <algorithm>
#include <cmath>

namespace etch::chip {
namespace {

constexpr size_t kInfluences = 3;

// How far inputs, one by one, take a metric down and up: as factors where it stays above 0 (changes
// of prices and areas are lopsided), else as differences.
class Spread {
 public:
  explicit Spread(double value) : value_(value) {}

  void Add(double at_low, double at_high) {
    const double least = std::min({value_, at_low, at_high});
    const double most = std::max({value_, at_low, at_high});
    if (value_ > 0.0) {
      constexpr double kTiny = 1e-12;
      below_ += std::pow(std::log(std::max(least, kTiny * value_) / value_), 2.0);
      above_ += std::pow(std::log(most / value_), 2.0);
    } else {
      above_ += most * most;
    }
  }
  double low() const { return value_ * std::exp(-std::sqrt(below_)); }
  double high() const {
    return value_ > 0.0 ? value_ * std::exp(std::sqrt(above_)) : std::sqrt(above_);
  }

 private:
  double value_;
  double below_ = 0.0;
  double above_ = 0.0;
};

double Swing(const Influence& influence) { return std::abs(influence.at_high - influence.at_low); }

}  // namespace

Estimate EstimateOf(const Model& model, const Inputs& inputs) {
  Values values = inputs.Nominal();
  Figures stated = model.Evaluate(values);
  const size_t count = stated.metrics.size();
  std::vector<Spread> spreads(stated.metrics.begin(), stated.metrics.end());
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
      spreads[metric].Add(low[metric], high[metric]);
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
    ranged.low = spreads[metric].low();
    ranged.high = spreads[metric].high();
    auto& all = influences[metric];
    std::ranges::stable_sort(all, std::greater<>(), Swing);
    all.resize(std::min(all.size(), kInfluences));
    ranged.influences = std::move(all);
    estimate.metrics.push_back(std::move(ranged));
  }
  return estimate;
}

}  // namespace etch::chip
