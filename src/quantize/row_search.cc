// How a row of floats becomes codes, group parameters and a row scale.
//
// A weight is approximated by level · m · s: the level from a table (W3: two tables of eight, W6:
// -32…31), m the integer scale of its group of 32 (W3: -16…15, W6: 0…63) and s the scale of the
// row. The error to make small is Σ h (w − ŵ)², h the importance of the input channel.
//
// For one table and one sign, a group on its own has a best real step d = m · s. It is found as in
// the formulas of reference work on importance matrices: round to the nearest levels q under a
// trial step, then take the least-squares step d = Σ h x q / Σ h q²; a few trial steps and one
// repetition suffice. The tables are asymmetric, so both signs are tried. Around its optimum the
// error is nearly a parabola with curvature Σ h q², and m = 0 lies on the same parabola.
//
// The row scale is then chosen among trial values by the sum of these parabolas at the nearest
// integers m: no weight is touched in that step. At the chosen scale every group tries the integers
// around its optima on the true error. Last, s is fitted by least squares to all codes of the row
// and the codes are rounded once more under it.
//
// W4F has no parabolas: steps are powers of two apart, too far for one. But all groups of a row see
// the same fraction of an octave, so errors are taken once on a grid of steps, eight an octave over
// the octave and a half that can be best for the group; the row takes the fraction with the least
// sum, and its scale is the largest step that a group wants under it.
//
// The inner loops run over 32 floats in plain arrays with no branch: seven comparisons with fixed
// thresholds find the nearest of eight levels, which SSE2 does four at a time. Rejected: more trial
// steps, more row scales and more integers a group, which cost 15 to 40 % of the speed for 0.05 to
// 0.3 % of the error (docs/rationale/quantize.md has the figures).

#include "quantize/row_search.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "quantize/float_steps.h"

namespace etch::quantize {
namespace {

using numerics::WeightFormat;

// Trial steps of a group, relative to the smallest that clips no weight.
constexpr std::array<float, 3> kW3Trials = {1.0F, 0.84F, 0.68F};
constexpr std::array<float, 3> kW6Trials = {1.0F, 0.93F, 0.86F};
// Trial row scales: the largest step of the row falls on these values of m.
constexpr std::array<float, 12> kW3Places = {11.0F, 12.0F, 13.0F, 13.5F, 14.0F, 14.5F,
                                             15.0F, 15.5F, 16.0F, 17.0F, 18.5F, 20.0F};
constexpr std::array<float, 6> kW6Places = {56.0F, 58.0F, 60.0F, 62.0F, 63.0F, 64.0F};
// Channels that calibration never saw keep this share of the mean importance, so that their
// weights are not lost.
constexpr float kImportanceFloor = 1e-4F;
// Under this energy a group is zero: its weights are 1e-9 of the row's largest.
constexpr float kNoEnergy = 1e-18F;
constexpr float kMinSixBit = -32.0F;
constexpr float kMaxSixBit = 31.0F;
constexpr int8_t kSixBitZero = 32;  // the code of level 0

// Nearest integer, ties to even, for |y| < 2^22.
inline float RoundNearest(float y) {
  constexpr float kMagic = 12582912.0F;  // 1.5 · 2^23
  return (y + kMagic) - kMagic;
}

// The level of W6 nearest to y.
inline float SixBitLevel(float y) {
  y = y > kMinSixBit ? y : kMinSixBit;
  y = y < kMaxSixBit ? y : kMaxSixBit;
  return RoundNearest(y);
}

float Largest(const float* values) {
  float largest = 0.0F;
  for (size_t col = 0; col < static_cast<size_t>(numerics::kGroup); ++col) {
    largest = std::max(largest, std::abs(values[col]));
  }
  return largest;
}

// The scale of a group relative to the row's.
float GroupScale(const numerics::RowGroup& group) {
  return std::ldexp(static_cast<float>(group.scale), -int{group.halvings});
}

numerics::RowGroup ZeroGroup(WeightFormat format) {
  numerics::RowGroup group;
  group.scale = format == WeightFormat::kW4F ? 1 : 0;
  group.codes.fill(format == WeightFormat::kW6 ? kSixBitZero : int8_t{0});
  return group;
}

}  // namespace

RowSearch::RowSearch(WeightFormat format, const numerics::LevelTables& levels, int64_t cols,
                     std::span<const float> importance)
    : format_(format),
      cols_(cols),
      optima_count_(format == WeightFormat::kW3 ? 4 : 1),
      min_scale_(format == WeightFormat::kW3 ? -16 : 0),
      max_scale_(format == WeightFormat::kW3 ? 15 : 63) {
  ETCH_CHECK(format == WeightFormat::kW3 || format == WeightFormat::kW6 ||
             format == WeightFormat::kW4F);
  ETCH_CHECK(importance.empty() || static_cast<int64_t>(importance.size()) == cols);
  for (size_t index = 0; index < tables_.size(); ++index) {
    Table& table = tables_[index];
    const auto& source = levels.levels[index];
    for (int8_t code = 0; code < 8; ++code) {
      table.codes[static_cast<size_t>(code)] = code;
    }
    std::ranges::stable_sort(table.codes, {},
                             [&](int8_t code) { return source[static_cast<size_t>(code)]; });
    for (size_t rank = 0; rank < 8; ++rank) {
      table.levels[rank] = static_cast<float>(source[static_cast<size_t>(table.codes[rank])]);
    }
    for (size_t rank = 0; rank < 7; ++rank) {
      table.steps[rank] = table.levels[rank + 1] - table.levels[rank];
      table.thresholds[rank] = 0.5F * (table.levels[rank + 1] + table.levels[rank]);
    }
  }
  const auto groups = static_cast<size_t>(numerics::GroupCount(cols));
  importance_.assign(groups * kWidth, 0.0F);
  double sum = 0.0;
  for (const float value : importance) {
    sum += static_cast<double>(value);
  }
  for (size_t col = 0; col < static_cast<size_t>(cols); ++col) {
    importance_[col] = sum > 0.0 ? static_cast<float>(static_cast<double>(importance[col]) *
                                                      static_cast<double>(cols) / sum) +
                                       kImportanceFloor
                                 : 1.0F;
  }
  values_.assign(groups * kWidth, 0.0F);
  weighted_.assign(groups * kWidth, 0.0F);
  energies_.assign(groups, 0.0F);
  optima_.resize(groups);
  float_errors_.resize(format == WeightFormat::kW4F ? groups : 0);
  codes_.groups.resize(groups);
}

RowSearch::Group RowSearch::GroupAt(size_t group) const {
  return {values_.data() + group * kWidth, importance_.data() + group * kWidth,
          weighted_.data() + group * kWidth, energies_[group]};
}

// The sums of a group rounded with step 1 / inverse.
RowSearch::Sums RowSearch::Correlate(const Group& group, float inverse, size_t optimum) const {
  std::array<float, kWidth> levels;
  if (format_ == WeightFormat::kW3) {
    const Table table = tables_[optimum / 2];
    for (size_t col = 0; col < kWidth; ++col) {
      const float y = group.values[col] * inverse;
      float level = table.levels[0];
      level += y > table.thresholds[0] ? table.steps[0] : 0.0F;
      level += y > table.thresholds[1] ? table.steps[1] : 0.0F;
      level += y > table.thresholds[2] ? table.steps[2] : 0.0F;
      level += y > table.thresholds[3] ? table.steps[3] : 0.0F;
      level += y > table.thresholds[4] ? table.steps[4] : 0.0F;
      level += y > table.thresholds[5] ? table.steps[5] : 0.0F;
      level += y > table.thresholds[6] ? table.steps[6] : 0.0F;
      levels[col] = level;
    }
  } else if (format_ == WeightFormat::kW4F) {
    for (size_t col = 0; col < kWidth; ++col) {
      levels[col] = FloatLevel(group.values[col] * inverse);
    }
  } else {
    for (size_t col = 0; col < kWidth; ++col) {
      levels[col] = SixBitLevel(group.values[col] * inverse);
    }
  }
  constexpr size_t kLanes = 8;
  std::array<float, kLanes> xq{};
  std::array<float, kLanes> qq{};
  for (size_t col = 0; col < kWidth; col += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      const float level = levels[col + lane];
      xq[lane] += group.weighted[col + lane] * level;
      qq[lane] += group.weights[col + lane] * (level * level);
    }
  }
  Sums sums;
  for (size_t lane = 0; lane < kLanes; ++lane) {
    sums.xq += xq[lane];
    sums.qq += qq[lane];
  }
  return sums;
}

// The smallest step, of the sign of this optimum, with which no weight lies beyond the last level.
float RowSearch::SmallestStep(const Group& group, size_t optimum) const {
  float largest = 0.0F;
  float smallest = 0.0F;
  for (size_t col = 0; col < kWidth; ++col) {
    largest = std::max(largest, group.values[col]);
    smallest = std::min(smallest, group.values[col]);
  }
  if (format_ == WeightFormat::kW6) {
    return std::max(largest / kMaxSixBit, smallest / kMinSixBit);
  }
  const Table& table = tables_[optimum / 2];
  // A table without a negative (positive) level clips everything there, whatever the step.
  const float top = std::max(table.levels[7], 1.0F);
  const float bottom = std::max(-table.levels[0], 1.0F);
  return optimum % 2 == 0 ? std::max(largest / top, -smallest / bottom)
                          : -std::max(-smallest / top, largest / bottom);
}

RowSearch::Optimum RowSearch::FindOptimum(const Group& group, size_t optimum) const {
  Optimum best{0.0F, group.energy, 0.0F};
  const float widest = SmallestStep(group, optimum);
  const auto consider = [&](float step) {
    const Sums sums = Correlate(group, 1.0F / step, optimum);
    if (sums.qq <= 0.0F) {
      return;
    }
    const float fitted = sums.xq / sums.qq;
    const float error = group.energy - sums.xq * fitted;
    if (error < best.error && fitted * step > 0.0F) {
      best = {fitted, error, sums.qq};
    }
  };
  for (const float trial : format_ == WeightFormat::kW3 ? kW3Trials : kW6Trials) {
    consider(widest * trial);
  }
  if (best.step != 0.0F) {
    consider(best.step);
  }
  return best;
}

// The predicted error of the row under a row scale; gives up above `limit`.
float RowSearch::PredictRow(float scale, float limit) const {
  const float inverse = 1.0F / scale;
  const auto lowest = static_cast<float>(min_scale_);
  const auto highest = static_cast<float>(max_scale_);
  float total = 0.0F;
  for (size_t group = 0; group < optima_.size() && total < limit; ++group) {
    float best = energies_[group];
    for (size_t index = 0; index < optima_count_; ++index) {
      const Optimum& optimum = optima_[group][index];
      const float place = std::clamp(RoundNearest(optimum.step * inverse), lowest, highest);
      const float distance = place * scale - optimum.step;
      best = std::min(best, optimum.error + optimum.curvature * distance * distance);
    }
    total += best;
  }
  return total;
}

// The row scale of W4F: errors on the grid, the best fraction of an octave, the largest step in
// use.
float RowSearch::FindFloatScale() {
  std::array<float, kGrid> totals{};
  for (size_t index = 0; index < float_errors_.size(); ++index) {
    const Group group = GroupAt(index);
    if (group.energy <= kNoEnergy) {
      continue;
    }
    FloatErrors& at = float_errors_[index];
    at.first = GridIndex(Largest(group.values) / kHighestPlace);
    std::array<float, kGrid> least;
    least.fill(group.energy);
    for (size_t turn = 0; turn < at.errors.size(); ++turn) {
      const int place = at.first + static_cast<int>(turn);
      const float step = GridStep(place);
      const Sums sums = Correlate(group, 1.0F / step, 0);
      at.errors[turn] = group.energy - step * (2.0F * sums.xq - step * sums.qq);
      float& best = least[FractionOf(place)];
      best = std::min(best, at.errors[turn]);
    }
    for (size_t fraction = 0; fraction < totals.size(); ++fraction) {
      totals[fraction] += least[fraction];
    }
  }
  const auto fraction = static_cast<size_t>(std::ranges::min_element(totals) - totals.begin());
  float scale = 0.0F;
  for (size_t index = 0; index < float_errors_.size(); ++index) {
    const FloatErrors& at = float_errors_[index];
    float best = INFINITY;
    float best_step = 0.0F;
    for (size_t turn = 0; turn < at.errors.size() && energies_[index] > kNoEnergy; ++turn) {
      const int place = at.first + static_cast<int>(turn);
      if (FractionOf(place) == fraction && at.errors[turn] < best) {
        best = at.errors[turn];
        best_step = GridStep(place);
      }
    }
    scale = std::max(scale, best_step);
  }
  return scale;
}

float RowSearch::FindScale() {
  if (format_ == WeightFormat::kW4F) {
    return FindFloatScale();
  }
  float largest = 0.0F;
  for (size_t group = 0; group < optima_.size(); ++group) {
    const Group at = GroupAt(group);
    size_t best = 0;
    for (size_t index = 0; index < optima_count_; ++index) {
      optima_[group][index] =
          at.energy > kNoEnergy ? FindOptimum(at, index) : Optimum{0.0F, at.energy, 0.0F};
      if (optima_[group][index].error < optima_[group][best].error) {
        best = index;
      }
    }
    largest = std::max(largest, std::abs(optima_[group][best].step));
  }
  if (largest == 0.0F) {
    return 0.0F;
  }
  float best_scale = largest / static_cast<float>(max_scale_);
  float best_error = PredictRow(best_scale, INFINITY);
  const auto consider = [&](float place) {
    const float scale = largest / place;
    const float error = PredictRow(scale, best_error);
    if (error < best_error) {
      best_error = error;
      best_scale = scale;
    }
  };
  if (format_ == WeightFormat::kW3) {
    std::ranges::for_each(kW3Places, consider);
  } else {
    std::ranges::for_each(kW6Places, consider);
  }
  return best_scale;
}

// Codes of a group under the step out.scale · scale; returns their error.
float RowSearch::Encode(const Group& group, float scale, numerics::RowGroup& out) const {
  const float step = GroupScale(out) * scale;
  if (step == 0.0F) {
    return group.energy;
  }
  const float inverse = 1.0F / step;
  std::array<float, kWidth> levels;
  if (format_ == WeightFormat::kW6) {
    for (size_t col = 0; col < kWidth; ++col) {
      levels[col] = SixBitLevel(group.values[col] * inverse);
      out.codes[col] = static_cast<int8_t>(static_cast<int>(levels[col]) + kSixBitZero);
    }
  } else if (format_ == WeightFormat::kW4F) {
    for (size_t col = 0; col < kWidth; ++col) {
      const float y = group.values[col] * inverse;
      out.codes[col] = FloatCode(y);
      levels[col] = FloatLevel(y);
    }
  } else {
    const Table& table = tables_[out.table];
    for (size_t col = 0; col < kWidth; ++col) {
      const float y = group.values[col] * inverse;
      int rank = 0;
      for (const float threshold : table.thresholds) {
        rank += y > threshold ? 1 : 0;
      }
      out.codes[col] = table.codes[static_cast<size_t>(rank)];
      levels[col] = table.levels[static_cast<size_t>(rank)];
    }
  }
  float error = 0.0F;
  for (size_t col = 0; col < kWidth; ++col) {
    const float difference = group.values[col] - levels[col] * step;
    error += group.weights[col] * (difference * difference);
  }
  return error;
}

// The halvings that put the largest weight in reach, tried on the true error.
RowSearch::Sums RowSearch::FitFloatGroup(const Group& group, float scale,
                                         numerics::RowGroup& out) const {
  const float largest = Largest(group.values);
  Sums best_sums;
  float best = INFINITY;
  for (int halvings = 0; halvings <= kMaxHalvings; ++halvings) {
    const float step = std::ldexp(scale, -halvings);
    if (halvings < kMaxHalvings && largest < kLowestPlace * step) {
      continue;
    }
    const Sums sums = Correlate(group, 1.0F / step, 0);
    const float error = group.energy - step * (2.0F * sums.xq - step * sums.qq);
    if (error < best) {
      best = error;
      best_sums = sums;
      out.halvings = static_cast<uint8_t>(halvings);
    }
    if (largest > 0.5F * kHighestPlace * step) {
      break;  // the next step would be out of reach
    }
  }
  return best_sums;
}

// The integers next to each optimum, tried on the true error. Returns the sums of the best.
RowSearch::Sums RowSearch::FitGroup(size_t index, float scale, numerics::RowGroup& out) const {
  const Group group = GroupAt(index);
  out = ZeroGroup(format_);
  if (format_ == WeightFormat::kW4F) {
    return FitFloatGroup(group, scale, out);
  }
  Sums best_sums;
  float best = group.energy;
  const float inverse = 1.0F / scale;
  for (size_t which = 0; which < optima_count_; ++which) {
    const Optimum& optimum = optima_[index][which];
    if (optimum.step == 0.0F || optimum.error > best) {
      continue;
    }
    const int below = static_cast<int>(std::floor(optimum.step * inverse));
    for (int place = below; place <= below + 1; ++place) {
      const int bounded = std::clamp(place, min_scale_, max_scale_);
      if (bounded == 0) {
        continue;
      }
      const float step = static_cast<float>(bounded) * scale;
      const Sums sums = Correlate(group, 1.0F / step, which);
      const float error = group.energy - step * (2.0F * sums.xq - step * sums.qq);
      if (error < best) {
        best = error;
        best_sums = sums;
        out.scale = static_cast<int8_t>(bounded);
        out.table = static_cast<uint8_t>(which / 2);
      }
    }
  }
  return best_sums;
}

// Takes the row in, scaled by a power of two so that its largest weight lies in [0.5, 1); returns
// the exponent.
int RowSearch::Load(std::span<const float> row) {
  float largest = 0.0F;
  for (const float value : row) {
    largest = std::max(largest, std::abs(value));
  }
  int exponent = 0;
  std::frexp(largest, &exponent);
  // In two factors: 2^-exponent alone overflows for the smallest floats.
  const float first = std::ldexp(1.0F, -exponent / 2);
  const float second = std::ldexp(1.0F, -exponent - (-exponent / 2));
  for (size_t col = 0; col < row.size(); ++col) {
    values_[col] = row[col] * first * second;
  }
  for (size_t group = 0; group < energies_.size(); ++group) {
    float energy = 0.0F;
    for (size_t col = group * kWidth; col < (group + 1) * kWidth; ++col) {
      weighted_[col] = values_[col] * importance_[col];
      energy += values_[col] * weighted_[col];
    }
    energies_[group] = energy;
  }
  return exponent;
}

const RowCodes& RowSearch::Quantize(std::span<const float> row) {
  ETCH_DCHECK(static_cast<int64_t>(row.size()) == cols_);
  const int exponent = Load(row);
  float scale = FindScale();
  double numerator = 0.0;
  double denominator = 0.0;
  for (size_t group = 0; group < optima_.size() && scale > 0.0F; ++group) {
    numerics::RowGroup& codes = codes_.groups[group];
    const Sums sums = FitGroup(group, scale, codes);
    const auto place = static_cast<double>(GroupScale(codes));
    numerator += place * static_cast<double>(sums.xq);
    denominator += place * place * static_cast<double>(sums.qq);
  }
  if (denominator > 0.0) {
    scale = static_cast<float>(numerator / denominator);
  }
  codes_.scale = numerics::ToScale16(std::ldexp(static_cast<double>(scale), exponent));
  scale = static_cast<float>(std::ldexp(numerics::FromScale16(codes_.scale), -exponent));
  codes_.error = 0.0;
  codes_.energy = 0.0;
  for (size_t group = 0; group < optima_.size(); ++group) {
    numerics::RowGroup& codes = codes_.groups[group];
    if (scale == 0.0F) {
      codes = ZeroGroup(format_);
    }
    codes_.error += static_cast<double>(Encode(GroupAt(group), scale, codes));
    codes_.energy += static_cast<double>(energies_[group]);
  }
  // Back to the scale of the weights as they came.
  codes_.error = std::ldexp(codes_.error, 2 * exponent);
  codes_.energy = std::ldexp(codes_.energy, 2 * exponent);
  return codes_;
}

}  // namespace etch::quantize
