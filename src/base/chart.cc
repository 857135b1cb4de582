#include "base/chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "base/html.h"

namespace etch {
namespace {

constexpr double kWidth = 760.0;
constexpr double kHeight = 300.0;
constexpr double kLeft = 64.0;
constexpr double kRight = 16.0;
constexpr double kTop = 30.0;
constexpr double kBottom = 44.0;
constexpr const char* kColours[] = {"#2f6fb2", "#c2571a", "#2e8b57", "#7a5ea8"};

// From values to pixels, with round marks.
class Axis {
 public:
  Axis(double low, double high, bool logarithmic, double from, double to)
      : logarithmic_(logarithmic), from_(from), to_(to) {
    low_ = Map(low);
    high_ = std::max(Map(high), low_ + 1e-9);
  }

  double At(double value) const {
    return from_ + (to_ - from_) * (Map(value) - low_) / (high_ - low_);
  }

  std::vector<double> Marks() const {
    std::vector<double> marks;
    if (logarithmic_) {
      const double decades = high_ - low_;
      for (double power = std::floor(low_); power <= high_; power += 1.0) {
        for (const double factor : {1.0, 2.0, 5.0}) {
          const double mark = factor * std::pow(10.0, power);
          const bool inside = std::log10(mark) >= low_ - 1e-9 && std::log10(mark) <= high_ + 1e-9;
          if (inside && (factor == 1.0 || decades < 3.0)) {
            marks.push_back(mark);
          }
        }
      }
      return marks;
    }
    const double rough = (high_ - low_) / 5.0;
    const double power = std::pow(10.0, std::floor(std::log10(rough)));
    const double ratio = rough / power;
    const double stride = power * (ratio <= 1.0   ? 1.0
                                   : ratio <= 2.0 ? 2.0
                                   : ratio <= 5.0 ? 5.0
                                                  : 10.0);
    const auto first = static_cast<int64_t>(std::ceil(low_ / stride - 1e-9));
    for (int64_t step = first; static_cast<double>(step) * stride <= high_ + 1e-9 * stride;
         ++step) {
      marks.push_back(static_cast<double>(step) * stride);
    }
    return marks;
  }

 private:
  double Map(double value) const { return logarithmic_ ? std::log10(value) : value; }

  bool logarithmic_;
  double from_;
  double to_;
  double low_ = 0.0;
  double high_ = 1.0;
};

}  // namespace

std::string ShortNumber(double value) {
  constexpr std::pair<double, const char*> kPrefixes[] = {
      {1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e4, "k"}};
  for (const auto& [size, prefix] : kPrefixes) {
    if (std::abs(value) >= size) {
      const double unit = size == 1e4 ? 1e3 : size;
      return fmt::format("{:.3g}{}", value / unit, prefix);
    }
  }
  return std::abs(value) >= 1000.0 ? fmt::format("{:.0f}", value) : fmt::format("{:.3g}", value);
}

std::string ChartSvg(const std::vector<Series>& series, const ChartOptions& options) {
  double low_x = 1e300;
  double high_x = -1e300;
  double low_y = options.from_zero && !options.log_y ? 0.0 : 1e300;
  double high_y = -1e300;
  for (const Series& one : series) {
    for (const auto& [x, y] : one.points) {
      low_x = std::min(low_x, x);
      high_x = std::max(high_x, x);
      low_y = std::min(low_y, y);
      high_y = std::max(high_y, y);
    }
  }
  if (high_x < low_x) {
    return "";
  }
  if (!options.log_y && high_y <= low_y) {
    high_y = low_y + 1.0;
  }
  const Axis x(low_x, high_x, options.log_x, kLeft, kWidth - kRight);
  const Axis y(low_y, high_y, options.log_y, kHeight - kBottom, kTop);
  std::string svg =
      fmt::format("<svg viewBox=\"0 0 {:.0f} {:.0f}\" role=\"img\" aria-label=\"{}\">\n", kWidth,
                  kHeight, EscapeHtml(options.y_title));
  for (const double mark : y.Marks()) {
    svg += fmt::format(
        "<line x1=\"{0}\" x2=\"{1}\" y1=\"{2:.1f}\" y2=\"{2:.1f}\" class=\"grid\"/><text "
        "x=\"{3}\" y=\"{4:.1f}\" text-anchor=\"end\" class=\"label\">{5}</text>\n",
        kLeft, kWidth - kRight, y.At(mark), kLeft - 6.0, y.At(mark) + 4.0, ShortNumber(mark));
  }
  double last = -1e9;
  for (const double mark : x.Marks()) {
    constexpr double kRoom = 48.0;
    if (x.At(mark) - last < kRoom) {
      continue;
    }
    last = x.At(mark);
    svg += fmt::format(
        "<text x=\"{:.1f}\" y=\"{}\" text-anchor=\"middle\" class=\"label\">{}</text>\n",
        x.At(mark), kHeight - kBottom + 16.0, ShortNumber(mark));
  }
  svg += fmt::format(
      "<text x=\"{}\" y=\"{}\" text-anchor=\"end\" class=\"label\">{}</text>"
      "<text x=\"0\" y=\"14\" class=\"label\">{}</text>\n",
      kWidth - kRight, kHeight - 8.0, EscapeHtml(options.x_title), EscapeHtml(options.y_title));
  double legend = kWidth - kRight;
  for (size_t index = series.size(); index-- > 0;) {
    const Series& one = series[index];
    const char* const colour = kColours[index % std::size(kColours)];
    std::string path;
    for (const auto& [at, value] : one.points) {
      path += fmt::format("{:.1f},{:.1f} ", x.At(at), y.At(value));
      if (one.mark != Mark::kLine) {
        svg += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3\" fill=\"{}\"/>", x.At(at),
                           y.At(value), colour);
      }
    }
    if (one.mark != Mark::kPoints) {
      svg += fmt::format("<polyline fill=\"none\" stroke=\"{}\" {} points=\"{}\"/>\n", colour,
                         one.faint ? "stroke-width=\"1\" opacity=\"0.45\"" : "stroke-width=\"2\"",
                         path);
    }
    if (!one.name.empty()) {
      svg += fmt::format(
          "<text x=\"{:.0f}\" y=\"14\" text-anchor=\"end\" class=\"label\" style=\"fill:{}\">{}"
          "</text>\n",
          legend, colour, EscapeHtml(one.name));
      legend -= 7.0 * static_cast<double>(one.name.size()) + 18.0;
    }
  }
  return svg + "</svg>\n";
}

std::string BarsSvg(std::vector<std::pair<std::string, double>> parts, const std::string& unit) {
  std::erase_if(parts, [](const auto& part) { return part.second <= 0.0; });
  std::ranges::stable_sort(parts, std::greater<>(), [](const auto& part) { return part.second; });
  if (parts.empty()) {
    return "";
  }
  double sum = 0.0;
  for (const auto& part : parts) {
    sum += part.second;
  }
  constexpr double kRow = 24.0;
  constexpr double kNames = 190.0;
  constexpr double kFigures = 150.0;
  const double height = kRow * static_cast<double>(parts.size()) + 4.0;
  std::string svg =
      fmt::format("<svg viewBox=\"0 0 {:.0f} {:.0f}\" role=\"img\">\n", kWidth, height);
  double top = 2.0;
  for (const auto& [name, value] : parts) {
    const double width = (kWidth - kNames - kFigures) * value / parts.front().second;
    svg += fmt::format(
        "<text x=\"{:.0f}\" y=\"{:.0f}\" text-anchor=\"end\" class=\"label\">{}</text>"
        "<rect x=\"{}\" y=\"{:.0f}\" width=\"{:.1f}\" height=\"16\" fill=\"#2f6fb2\"/>"
        "<text x=\"{:.1f}\" y=\"{:.0f}\" class=\"label\">{} {}, {:.1f} %</text>\n",
        kNames - 8.0, top + 14.0, EscapeHtml(name), kNames, top + 2.0, std::max(width, 0.5),
        kNames + width + 8.0, top + 14.0, ShortNumber(value), EscapeHtml(unit),
        100.0 * value / sum);
    top += kRow;
  }
  return svg + "</svg>\n";
}

}  // namespace etch
