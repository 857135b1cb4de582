#pragma once

// An estimate as one HTML page that needs nothing beside it: figures with their ranges, floorplan,
// area and energy by block, speed, cost, what is published, and every number with its source.

#include <string>
#include <vector>

#include "chip/published.h"
#include "chip/studies.h"

namespace etch::chip {

// A preset's estimates beside what is published of it.
struct Comparison {
  std::string chip;
  std::string metric;
  double predicted = 0.0;
  double low = 0.0;
  double high = 0.0;
  double published = 0.0;
  std::string source;
  std::string note;
  std::string explanation;
  std::string standing;

  // More than 30 % off.
  bool is_miss() const { return ratio() < 1.0 / 1.3 || ratio() > 1.3; }
  double ratio() const { return predicted / published; }
};
// Every published figure of every preset, all with the same inputs.
Result<std::vector<Comparison>> ComparePublished();

// Everything that a report shows.
struct Study {
  Estimate estimate;
  std::vector<SpeedPoint> over_context;
  std::vector<SpeedPoint> over_users;
  std::vector<SweepPoint> sweep;
  CapacityStudy capacity;
  std::vector<VolumePoint> volume;
};
Study StudyOf(const Model& model, const Inputs& inputs);

Result<std::string> ReportHtml(const Model& model, const Inputs& inputs, const Study& study);

}  // namespace etch::chip
