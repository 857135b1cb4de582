#pragma once

#include <string>
#include <utility>
#include <vector>

namespace etch {

enum class Mark { kLine, kPoints, kBoth };

struct Series {
  std::string name;
  std::vector<std::pair<double, double>> points;  // x, y; above 0 on a logarithmic axis
  Mark mark = Mark::kBoth;
  bool faint = false;  // behind the others
};

struct ChartOptions {
  std::string x_title = {};
  std::string y_title = {};
  bool log_x = false;
  bool log_y = false;
  bool from_zero = true;  // of y, unless logarithmic
};

// A chart as SVG, with axes from the least to the greatest value and the
// series' names in a line above it.
std::string ChartSvg(const std::vector<Series>& series, const ChartOptions& options);

// Bars of parts of a whole, greatest first: name, value.
std::string BarsSvg(std::vector<std::pair<std::string, double>> parts, const std::string& unit);

// "17.0k", "0.0075", "53.1G": three digits and a prefix.
std::string ShortNumber(double value);

}  // namespace etch
