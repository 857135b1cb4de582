#include "tune/report.h"

#include <fmt/format.h>

#include "base/chart.h"
#include "base/html.h"
#include "text/utf8.h"

namespace etch::tune {
namespace {

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
svg{{width:100%;height:auto}}
.grid{{stroke:#eaeef2;stroke-width:1}}.label{{font-size:11px;fill:#57606a}}
@media (prefers-color-scheme:dark){{body{{color:#e6edf3;background:#0d1117}}
td,th{{border-color:#30363d}}.grid{{stroke:#21262d}}.label{{fill:#8d96a0}}
.exact{{color:#3fb950}}.wrong{{color:#ff7b72}}}}
</style></head><body><h1>{0}</h1>
)";

// Training loss, each point and a running mean, and validation loss, against steps.
std::string LossCurves(const std::vector<StepReport>& steps,
                       const std::vector<ValidationReport>& validations) {
  if (steps.empty()) {
    return "";
  }
  Series losses{"training loss", {}, Mark::kLine, true};
  Series means{"its running mean", {}, Mark::kLine};
  Series checks{"validation loss", {}, Mark::kLine};
  Series best{"the best so far", {}, Mark::kPoints};
  double mean = steps.front().loss;
  for (const StepReport& step : steps) {
    mean += (step.loss - mean) * 0.1;
    losses.points.emplace_back(step.step, step.loss);
    means.points.emplace_back(step.step, mean);
  }
  for (const ValidationReport& check : validations) {
    checks.points.emplace_back(check.step, check.loss);
    if (check.is_best) {
      best.points.emplace_back(check.step, check.loss);
    }
  }
  return ChartSvg(
      {losses, means, checks, best},
      {.x_title = "steps", .y_title = "loss, nats a trained token", .from_zero = false});
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
