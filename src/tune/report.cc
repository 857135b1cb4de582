#include "tune/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/html.h"
#include "text/utf8.h"

namespace etch::tune {
namespace {

constexpr double kWidth = 760.0;
constexpr double kHeight = 260.0;
constexpr double kLeft = 52.0;
constexpr double kBottom = 28.0;
constexpr double kTop = 12.0;

constexpr const char* kHead = R"(<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{0}</title><style>
body{{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;
color:#1b1f24;background:#fff}}
h1{{font-size:1.5rem}}h2{{font-size:1.1rem;margin-top:2rem}}
table{{border-collapse:collapse;width:100%}}
td,th{{text-align:left;vertical-align:top;padding:.25rem .75rem .25rem 0;
border-bottom:1px solid #d8dee4}}
th{{font-weight:600}}.exact{{color:#116329}}.wrong{{color:#a40e26}}
svg{{width:100%;height:auto}}.axis{{stroke:#8c959f;stroke-width:1}}
.grid{{stroke:#eaeef2;stroke-width:1}}.label{{font-size:11px;fill:#57606a}}
@media (prefers-color-scheme:dark){{body{{color:#e6edf3;background:#0d1117}}
td,th{{border-color:#30363d}}.grid{{stroke:#21262d}}.label{{fill:#8d96a0}}
.exact{{color:#3fb950}}.wrong{{color:#ff7b72}}}}
</style></head><body><h1>{0}</h1>
)";

struct Axis {
  double low = 0.0;
  double high = 1.0;
};

double X(double value, const Axis& axis) {
  return kLeft + (kWidth - kLeft - 8.0) * (value - axis.low) / (axis.high - axis.low);
}
double Y(double value, const Axis& axis) {
  return kHeight - kBottom -
         (kHeight - kBottom - kTop) * (value - axis.low) / (axis.high - axis.low);
}

// A round distance between some five grid lines.
double Stride(const Axis& axis) {
  const double rough = (axis.high - axis.low) / 5.0;
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (rough <= factor * power) {
      return factor * power;
    }
  }
  return 10.0 * power;
}

std::string Line(const std::vector<std::pair<double, double>>& points, const Axis& x, const Axis& y,
                 const char* style) {
  std::string path;
  for (const auto& [at, value] : points) {
    path += fmt::format("{:.1f},{:.1f} ", X(at, x), Y(std::min(value, y.high), y));
  }
  return fmt::format("<polyline fill=\"none\" {} points=\"{}\"/>\n", style, path);
}

// Training loss, each point and a running mean, and validation loss, against steps.
std::string LossCurves(const std::vector<StepReport>& steps,
                       const std::vector<ValidationReport>& validations) {
  if (steps.empty()) {
    return "";
  }
  const Axis x{0.0, static_cast<double>(std::max<int64_t>(steps.back().step, 2))};
  Axis y{1e30, -1e30};
  std::vector<std::pair<double, double>> losses;
  std::vector<std::pair<double, double>> means;
  std::vector<std::pair<double, double>> checks;
  double mean = steps.front().loss;
  for (const StepReport& step : steps) {
    mean += (step.loss - mean) * 0.1;
    losses.emplace_back(static_cast<double>(step.step), step.loss);
    means.emplace_back(static_cast<double>(step.step), mean);
    y.low = std::min(y.low, step.loss);
    y.high = std::max(y.high, step.loss);
  }
  for (const ValidationReport& check : validations) {
    checks.emplace_back(static_cast<double>(check.step), check.loss);
    y.low = std::min(y.low, check.loss);
    y.high = std::max(y.high, check.loss);
  }
  y.low = std::max(0.0, y.low - 0.05 * (y.high - y.low));
  if (y.high <= y.low) {
    y.high = y.low + 1.0;
  }
  std::string svg =
      fmt::format("<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"loss against steps\">\n",
                  kWidth, kHeight);
  const double rise = Stride(y);
  for (double value = std::ceil(y.low / rise) * rise; value <= y.high; value += rise) {
    svg += fmt::format(
        "<line class=\"grid\" x1=\"{0}\" x2=\"{1}\" y1=\"{2:.1f}\" y2=\"{2:.1f}\"/>"
        "<text class=\"label\" x=\"4\" y=\"{3:.1f}\">{4:.3g}</text>\n",
        kLeft, kWidth - 8.0, Y(value, y), Y(value, y) + 4.0, value);
  }
  const double run = std::max(1.0, Stride(x));
  for (double value = 0.0; value <= x.high; value += run) {
    svg += fmt::format("<text class=\"label\" x=\"{:.1f}\" y=\"{}\">{:.0f}</text>\n",
                       X(value, x) - 8.0, kHeight - 8.0, value);
  }
  svg += Line(losses, x, y, "stroke=\"#54aeff\" stroke-width=\"1\" opacity=\"0.45\"");
  svg += Line(means, x, y, "stroke=\"#0969da\" stroke-width=\"2\"");
  svg += Line(checks, x, y, "stroke=\"#bc4c00\" stroke-width=\"2\"");
  for (const ValidationReport& check : validations) {
    svg +=
        fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{}\" fill=\"#bc4c00\"/>\n",
                    X(static_cast<double>(check.step), x), Y(check.loss, y), check.is_best ? 4 : 2);
  }
  svg +=
      "</svg>\n<p class=\"label\">blue: training loss and its running mean; orange: validation "
      "loss, the large points the best so far; nats a trained token, against steps</p>\n";
  return svg;
}

}  // namespace

std::string RenderReport(const ReportContent& content, const std::vector<StepReport>& steps,
                         const std::vector<ValidationReport>& validations) {
  std::string page = fmt::format(kHead, EscapeHtml(content.title));
  page += LossCurves(steps, validations);
  for (const auto& [heading, rows] : content.tables) {
    page += fmt::format("<h2>{}</h2>\n<table>\n", EscapeHtml(heading));
    for (const auto& [name, value] : rows) {
      page += fmt::format("<tr><th>{}</th><td>{}</td></tr>\n", EscapeHtml(name), EscapeHtml(value));
    }
    page += "</table>\n";
  }
  if (!content.findings.empty()) {
    page += "<h2>What the linter found</h2>\n<ul>\n";
    for (const std::string& finding : content.findings) {
      page += fmt::format("<li>{}</li>\n", EscapeHtml(finding));
    }
    page += "</ul>\n";
  }
  if (!content.examples.empty()) {
    page +=
        "<h2>Held-out questions, side by side</h2>\n<table>\n<tr><th>question</th>"
        "<th>right answer</th><th>base</th><th>adapter</th></tr>\n";
    for (const ExampleAnswers& example : content.examples) {
      page += fmt::format("<tr><td>{}</td><td>{}</td><td>{}</td><td class=\"{}\">{}</td></tr>\n",
                          EscapeHtml(example.question), EscapeHtml(example.right),
                          EscapeHtml(example.base), example.adapter_is_exact ? "exact" : "wrong",
                          EscapeHtml(example.adapter));
    }
    page += "</table>\n";
  }
  // What a model writes may be any bytes.
  return text::ToValidUtf8(page + "</body></html>\n");
}

}  // namespace etch::tune
