// A pass of c columns takes T(c) and brings one token a sequence, and a drafted token with the
// probability that all drafts up to it are right. A draft is worth its columns when tokens ÷ T
// rises.
//
// Acceptance costs nothing to know: what the lookup proposes is compared with what is drawn even
// when nothing was drafted. So text that does not repeat never pays for a draft, and text that
// begins to repeat is noticed at once. T(c) must be paid for: once in kProbeInterval passes a draft
// that is likely right is tried although the figures are against it, or for another length. Probes
// change their length, because kernels that take columns four or eight at a time make T a staircase
// which one length does not show. With kernels that gain nothing from a batch, a round of three
// probes adds 1 + 3 + 7 columns of which half bring a token: 5 or 6 passes' worth in 3 · 256, below
// 1 %.
//
// A larger T is also paid by the other sequences of the pass. The sum of tokens decides, so one
// request that copies may slow its neighbours a little where the batch as a whole gains.

#include "engine/speculation.h"

#include <algorithm>

namespace etch::engine {
namespace {

constexpr double kMargin = 1.05;          // gain below which a draft is not worth the risk
constexpr double kProbeLikelihood = 0.5;  // of the first token of a probe
constexpr int64_t kWarmUp = 3;            // passes before the first probe
constexpr int64_t kMemory = 8;            // passes that the mean of a size remembers
constexpr int64_t kStale = 128;           // passes after which it is half forgotten
constexpr double kOutlier = 3.0;          // times the mean that one measurement may count as
constexpr int64_t kPriorWeight = 2;       // observations that the first guess of a share stands for
constexpr int64_t kShareMemory = 16;      // observations that a share remembers

}  // namespace

void PassCost::Record(int64_t columns, double seconds) {
  ++passes_;
  if (columns < 1 || columns > kMaxColumns || seconds <= 0.0) {
    return;
  }
  Point& point = points_[static_cast<size_t>(columns)];
  if (passes_ - point.last > kStale) {
    point.count = std::min<int64_t>(point.count, 1);
  }
  point.last = passes_;
  point.count = std::min(point.count + 1, kMemory);
  const double sample = point.count > 2 ? std::min(seconds, kOutlier * point.seconds) : seconds;
  point.seconds += (sample - point.seconds) / static_cast<double>(point.count);
}

double PassCost::Seconds(int64_t columns) const {
  const auto at = [this](int64_t index) { return points_[static_cast<size_t>(index)].seconds; };
  const auto known = [&](int64_t index) { return at(index) > 0.0; };
  const auto next = [&](int64_t from, int64_t step) {
    while (from >= 1 && from <= kMaxColumns && !known(from)) {
      from += step;
    }
    return from;
  };
  const int64_t limited = std::min(columns, kMaxColumns);
  int64_t low = next(limited, -1);
  int64_t high = next(limited, 1);
  if (low == columns) {
    return at(low);
  }
  if (high > kMaxColumns) {  // beyond all that is known: the line through the last and the first
    high = low;
    low = next(1, 1);
  } else if (low < 1) {  // below all that is known
    low = high;
    high = next(high + 1, 1);
    high = high > kMaxColumns ? low : high;
  }
  if (low < 1 || low > kMaxColumns) {
    return 0.0;
  }
  if (low == high) {
    return at(low) * static_cast<double>(columns) / static_cast<double>(low);
  }
  const double slope = std::max(0.0, (at(high) - at(low)) / static_cast<double>(high - low));
  return std::max(at(low) + slope * static_cast<double>(columns - low), 0.1 * at(low));
}

bool PassCost::ProbeIsDue() const {
  return passes_ >= kWarmUp && passes_ - last_probe_ >= kProbeInterval;
}

int64_t PassCost::StartProbe() {
  constexpr std::array<int64_t, 3> kLengths = {3, 7, 1};
  last_probe_ = passes_;
  return kLengths[static_cast<size_t>(probes_++) % kLengths.size()];
}

size_t Acceptance::Index(int64_t match) {
  return static_cast<size_t>(std::min(match, PromptLookup::kMatchCap) - PromptLookup::kShortest);
}

void Acceptance::Observe(int64_t match, bool accepted) {
  const size_t index = Index(match);
  count_[index] = std::min(count_[index] + 1, kShareMemory - kPriorWeight);
  share_[index] +=
      ((accepted ? 1.0 : 0.0) - share_[index]) / static_cast<double>(count_[index] + kPriorWeight);
}

double Acceptance::Expected(int64_t match, int64_t length) const {
  double tokens = 0.0;
  double all_right = 1.0;
  for (int64_t index = 0; index < length; ++index) {
    all_right *= Probability(match + index);
    tokens += all_right;
  }
  return tokens;
}

int64_t ChooseDraft(Speculation speculation, PassCost& cost, const Acceptance& acceptance,
                    int64_t match, int64_t most, PassPlan& plan) {
  most = std::min({most, kMaxDraft, PassCost::kMaxColumns - plan.columns});
  if (speculation == Speculation::kOff || match == 0 || most < 1) {
    return 0;
  }
  int64_t chosen = 0;
  if (speculation == Speculation::kAlways) {
    chosen = most;
  } else if (const double now = cost.Seconds(plan.columns); now > 0.0) {
    double best = kMargin;
    for (int64_t length = 1; length <= most; ++length) {
      const double gain = (1.0 + acceptance.Expected(match, length) / plan.tokens) * now /
                          cost.Seconds(plan.columns + length);
      if (gain > best) {
        best = gain;
        chosen = length;
      }
    }
    if (plan.columns == plan.sequences && cost.ProbeIsDue() &&
        acceptance.Probability(match) >= kProbeLikelihood) {
      chosen = std::min(cost.StartProbe(), most);
    }
  }
  plan.columns += chosen;
  plan.tokens += acceptance.Expected(match, chosen);
  return chosen;
}

}  // namespace etch::engine
