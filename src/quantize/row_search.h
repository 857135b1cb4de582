#pragma once

// The search for the scales, tables and codes of one row. Two steps: FindScale chooses the row
// scale, FitGroup the parameters and codes of one group under a given row scale; a method that
// changes the weights between groups (error feedback) uses the second alone.

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "numerics/weights.h"

namespace etch::quantize {

// One row as it will be packed.
struct RowCodes {
  numerics::Scale16 scale;
  std::vector<numerics::RowGroup> groups;
  double error = 0.0;   // Σ importance · (w − ŵ)²
  double energy = 0.0;  // Σ importance · w²
};

// Not thread-safe: each thread has its own, and its memory is reused from row to row.
class RowSearch {
 public:
  // `importance`: cols non-negative values, or empty for flat. `format`: W3, W6 or W4F.
  RowSearch(numerics::WeightFormat format, const numerics::LevelTables& levels, int64_t cols,
            std::span<const float> importance);

  // Quantises `row` (cols finite values). The result lives until the next call.
  const RowCodes& Quantize(std::span<const float> row);

 private:
  static constexpr size_t kWidth = static_cast<size_t>(numerics::kGroup);

  // Eight levels in rising order; the nearest to y is levels[0] + Σ steps[k] where y >
  // thresholds[k].
  struct Table {
    std::array<float, 8> levels{};
    std::array<float, 7> steps{};
    std::array<float, 7> thresholds{};
    std::array<int8_t, 8> codes{};  // of each rank
  };
  // Σ h·x·q and Σ h·q² of a group whose weights are rounded to the levels q.
  struct Sums {
    float xq = 0.0F;
    float qq = 0.0F;
  };
  // A local optimum of a group's step: error(step) ≈ error + curvature · (step − this step)².
  struct Optimum {
    float step = 0.0F;
    float error = 0.0F;
    float curvature = 0.0F;
  };
  // The four optima of W3 (table × sign); W6 has the first alone.
  using Optima = std::array<Optimum, 4>;
  // W4F: the errors of a group under consecutive steps of a grid of eight an octave.
  struct FloatErrors {
    int first = 0;
    std::array<float, 12> errors{};
  };

  // The weights of one group, scaled so that the largest of the row lies in [0.5, 1).
  struct Group {
    const float* values;    // x
    const float* weights;   // h
    const float* weighted;  // h · x
    float energy;           // Σ h·x²
  };

  Group GroupAt(size_t group) const;
  Sums Correlate(const Group& group, float inverse, size_t optimum) const;
  float SmallestStep(const Group& group, size_t optimum) const;
  Optimum FindOptimum(const Group& group, size_t optimum) const;
  float FindScale();
  float FindFloatScale();
  Sums FitFloatGroup(const Group& group, float scale, numerics::RowGroup& out) const;
  float PredictRow(float scale, float limit) const;
  Sums FitGroup(size_t group, float scale, numerics::RowGroup& out) const;
  float Encode(const Group& group, float scale, numerics::RowGroup& out) const;
  int Load(std::span<const float> row);

  numerics::WeightFormat format_;
  int64_t cols_;
  size_t optima_count_;
  int min_scale_;
  int max_scale_;
  std::array<Table, 2> tables_;
  std::vector<float> importance_;  // padded with zeros, mean 1
  std::vector<float> values_;
  std::vector<float> weighted_;
  std::vector<float> energies_;
  std::vector<Optima> optima_;
  std::vector<FloatErrors> float_errors_;  // W4F only
  RowCodes codes_;
};

}  // namespace etch::quantize
