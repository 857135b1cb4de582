#include "chip/report.h"

#include <fmt/format.h>

#include <cmath>

#include "base/chart.h"
#include "base/html.h"
#include "chip/floorplan.h"

namespace etch::chip {
namespace {

constexpr const char* kHead = R"(<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{0}</title><style>
body{{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:62rem;padding:0 1rem;
color:#1b1f24;background:#fff}}
h1{{font-size:1.5rem;margin-bottom:.25rem}}h2{{font-size:1.15rem;margin-top:2.25rem}}
table{{border-collapse:collapse;width:100%}}
td,th{{text-align:left;vertical-align:top;padding:.25rem .75rem .25rem 0;
border-bottom:1px solid #d8dee4}}
th{{font-weight:600}}td.n,th.n{{text-align:right;white-space:nowrap}}
.plans{{display:flex;flex-wrap:wrap;gap:2rem}}.plans>*{{flex:1 1 22rem}}
svg{{width:100%;height:auto}}.grid{{stroke:#eaeef2}}.label{{font-size:12px;fill:#57606a}}
.plan{{font-size:12px;fill:#fff}}.bar{{fill:#57606a}}.sub{{color:#57606a}}
.swatch{{display:inline-block;width:.8em;height:.8em;margin-right:.4em}}
.miss{{color:#a40e26}}small{{color:#57606a}}
@media (prefers-color-scheme:dark){{body{{color:#e6edf3;background:#0d1117}}
td,th{{border-color:#30363d}}.grid{{stroke:#21262d}}.label,.sub,small{{fill:#8d96a0;color:#8d96a0}}
.miss{{color:#ff7b72}}}}
</style></head><body>
<h1>{0}</h1><p class="sub">{1}</p>
)";

std::string Cell(const std::string& text, bool number = false) {
  return fmt::format("<td{}>{}</td>", number ? " class=\"n\"" : "", text);
}

std::string FiguresPart(const Estimate& estimate) {
  std::string html =
      "<h2>Figures</h2><p>Each with the range that its inputs' ranges give it, and the inputs that "
      "matter most.</p><table><tr><th></th><th class=\"n\">value</th><th class=\"n\">range</th>"
      "<th>most of the range from</th></tr>\n";
  for (size_t index = 0; index < Metrics().size(); ++index) {
    const MetricInfo& info = Metrics()[index];
    const Ranged& ranged = estimate.metrics[index];
    std::vector<std::string> names;
    for (const Influence& influence : ranged.influences) {
      names.push_back(influence.quantity);
    }
    const std::string unit = info.unit == "1" ? "" : " " + std::string(info.unit);
    html += "<tr>" + Cell(EscapeHtml(info.title)) +
            Cell(ShortNumber(ranged.value) + EscapeHtml(unit), true) +
            Cell(ShortNumber(ranged.low) + " – " + ShortNumber(ranged.high), true) +
            Cell(fmt::format("<small>{}</small>", fmt::join(names, ", "))) + "</tr>\n";
  }
  return html + "</table>\n";
}

std::string Blocks(const Model& model, const Estimate& estimate) {
  const auto chips = static_cast<double>(model.design().chips);
  std::string html = fmt::format("<h2>Floorplan{}</h2><div class=\"plans\"><div>\n",
                                 chips > 1.0 ? ", one chip of the model" : "");
  html += FloorplanSvg(Floorplan(estimate.blocks, chips), 460.0);
  html +=
      "</div><div><table><tr><th>block</th><th class=\"n\">mm²</th><th class=\"n\">transistors"
      "</th></tr>\n";
  double area = 0.0;
  double transistors = 0.0;
  for (const Block& block : estimate.blocks) {
    area += block.area_mm2;
    transistors += block.transistors;
    if (block.area_mm2 > 0.0) {
      html += fmt::format(
          "<tr><td><span class=\"swatch\" style=\"background:{}\"></span>{}</td>{}{}</tr>\n",
          ColourOf(block.kind), EscapeHtml(block.name), Cell(ShortNumber(block.area_mm2), true),
          Cell(ShortNumber(block.transistors), true));
    }
  }
  html += fmt::format("<tr><td>all{}</td>{}{}</tr></table></div></div>\n",
                      chips > 1.0 ? ", all chips" : "", Cell(ShortNumber(area), true),
                      Cell(ShortNumber(transistors), true));
  std::vector<std::pair<std::string, double>> areas;
  std::vector<std::pair<std::string, double>> energies;
  double leakage = 0.0;
  for (const Block& block : estimate.blocks) {
    areas.emplace_back(block.name, block.area_mm2);
    energies.emplace_back(block.name, block.energy_nj / 1e6);
    leakage += block.leakage_w;
  }
  energies.emplace_back("leakage", leakage / estimate.Of("tokens_per_s_total").value * 1e3);
  html += "<h2>Area by block</h2>\n" + BarsSvg(areas, "mm²");
  html += "<h2>Energy a token by block</h2>\n" + BarsSvg(energies, "mJ");
  return html;
}

std::string Speed(const Study& study) {
  Series context{"", {}};
  for (const SpeedPoint& point : study.over_context) {
    context.points.emplace_back(static_cast<double>(point.context), point.tokens_per_s_user);
  }
  Series each{"a user", {}};
  Series all{"all users", {}};
  for (const SpeedPoint& point : study.over_users) {
    each.points.emplace_back(static_cast<double>(point.users), point.tokens_per_s_user);
    all.points.emplace_back(static_cast<double>(point.users), point.tokens_per_s_total);
  }
  return "<h2>Speed over context, one user</h2>\n" +
         ChartSvg({context}, {"tokens of context", "tokens/s", true}) +
         "<h2>Speed over users</h2>\n" + ChartSvg({each, all}, {"users at once", "tokens/s", true});
}

std::string SweepPart(const Study& study) {
  Series best{
      "within the reticle, and no other has less area and more tokens/s", {}, Mark::kPoints};
  Series others{"others", {}, Mark::kPoints};
  std::string rows;
  for (const SweepPoint& point : study.sweep) {
    (point.best ? best : others).points.emplace_back(point.area_mm2, point.tokens_per_s_total);
    if (point.best) {
      rows += "<tr>" + Cell(fmt::format("{}", point.lanes), true) +
              Cell(fmt::format("{}", point.stages), true) +
              Cell(ShortNumber(point.area_mm2), true) +
              Cell(ShortNumber(point.tokens_per_s_user), true) +
              Cell(ShortNumber(point.tokens_per_s_total), true) +
              Cell(ShortNumber(point.card_w), true) + "</tr>\n";
    }
  }
  return "<h2>Lanes and layers in flight</h2>\n" +
         ChartSvg({best, others}, {"mm²", "tokens/s of all users", true, true}) +
         "<table><tr><th class=\"n\">lanes a stage</th><th class=\"n\">layers in flight</th>"
         "<th class=\"n\">mm²</th><th class=\"n\">tokens/s of a user</th><th class=\"n\">of all"
         "</th><th class=\"n\">card, W</th></tr>\n" +
         rows + "</table>\n";
}

std::string CapacityPart(const Model& model, const CapacityStudy& study) {
  if (!model.design().cache.on_chip) {
    return "";
  }
  std::string html = fmt::format(
      "<h2>What the SRAM holds</h2><p>Without contexts and adapters a chip has {:.4g} mm²; the "
      "rest of the reticle is room for {:.4g} MiB. An adapter of rank {} at all linear layers "
      "takes "
      "{:.3g} MiB ({:.3g} MiB packed, in 16 bits); {} fit beside one user of {} tokens. SRAM takes "
      "more area than ROM from {} such users on.</p><table><tr><th class=\"n\">context</th>"
      "<th class=\"n\">MiB a user</th><th class=\"n\">users that fit</th></tr>\n",
      study.fixed_mm2, study.room_mib, model.design().choices.adapter_rank, study.adapter_mib,
      study.adapter_mib_16_bit, study.adapters, model.design().choices.context,
      study.users_sram_exceeds_rom);
  for (const Capacity& capacity : study.contexts) {
    html += "<tr>" + Cell(fmt::format("{}", capacity.context), true) +
            Cell(ShortNumber(capacity.mib_per_user), true) +
            Cell(fmt::format("{}", capacity.users), true) + "</tr>\n";
  }
  return html + "</table>\n";
}

std::string Volume(const Study& study) {
  Series respin{"with new weights only", {}};
  Series all{"with the fabric's NRE", {}};
  for (const VolumePoint& point : study.volume) {
    respin.points.emplace_back(point.chips, point.usd_per_mtoken);
    all.points.emplace_back(point.chips, point.usd_per_mtoken_nre);
  }
  return "<h2>Price over volume</h2>\n" +
         ChartSvg({respin, all}, {"chips sold of a model", "USD a million tokens", true, true});
}

Result<std::string> Market(const Model& model, const Estimate& estimate) {
  ETCH_ASSIGN_OR_RETURN(const std::vector<MarketEntry> market, LoadMarket());
  std::string html =
      "<h2>Beside others</h2><p>Published prices hold margins and what their makers chose; the "
      "first row is this estimate, at cost.</p><table><tr><th></th><th>model</th><th class=\"n\">"
      "tokens/s of a user</th><th class=\"n\">USD a million tokens</th><th>source</th></tr>\n";
  html += "<tr>" + Cell(EscapeHtml(model.design().title)) + Cell(EscapeHtml(model.design().model)) +
          Cell(ShortNumber(estimate.Of("tokens_per_s_user").value), true) +
          Cell(ShortNumber(estimate.Of("usd_per_mtoken").value), true) + Cell("this estimate") +
          "</tr>\n";
  const auto number = [](const std::optional<double>& value) {
    return Cell(value ? ShortNumber(*value) : std::string("–"), true);
  };
  for (const MarketEntry& entry : market) {
    html += "<tr>" + Cell(EscapeHtml(entry.name)) + Cell(EscapeHtml(entry.model)) +
            number(entry.tokens_per_s_user) + number(entry.usd_per_mtoken) +
            Cell("<small>" + EscapeHtml(entry.source) + "</small>") + "</tr>\n";
  }
  return html + "</table>\n";
}

std::string Published(const std::vector<Comparison>& comparisons) {
  std::string html =
      "<h2>Predicted beside published</h2><p>Every preset with the same inputs. In brackets what "
      "of a figure the model was given. What is "
      "more than 30 % off is marked, and why.</p><table><tr><th>chip</th><th>figure</th><th "
      "class=\"n\">"
      "predicted</th><th class=\"n\">range</th><th class=\"n\">published</th><th class=\"n\">ratio"
      "</th><th></th></tr>\n";
  for (const Comparison& one : comparisons) {
    std::string remark = one.note.empty() ? one.source : one.note;
    if (!one.standing.empty()) {
      remark = fmt::format("({}) {}", one.standing, remark);
    }
    if (one.is_miss() && !one.explanation.empty()) {
      remark = fmt::format("{}. Why it differs: {}", remark, one.explanation);
    }
    html += "<tr>" + Cell(EscapeHtml(one.chip)) + Cell(EscapeHtml(one.metric)) +
            Cell(ShortNumber(one.predicted), true) +
            Cell(ShortNumber(one.low) + " – " + ShortNumber(one.high), true) +
            Cell(ShortNumber(one.published), true) +
            Cell(fmt::format("<span{}>{:.2f}</span>", one.is_miss() ? " class=\"miss\"" : "",
                             one.ratio()),
                 true) +
            Cell("<small>" + EscapeHtml(remark) + "</small>") + "</tr>\n";
  }
  return html + "</table>\n";
}

std::string Sources(const Model& model, const Inputs& inputs) {
  std::string html = "<h2>Assumptions of the design</h2><table>\n";
  for (const Assumption& assumption : model.design().assumptions) {
    html +=
        "<tr>" + Cell(EscapeHtml(assumption.what)) + Cell(EscapeHtml(assumption.why)) + "</tr>\n";
  }
  html += fmt::format(
      "</table><h2>Inputs</h2><p>{}: {}</p><table><tr><th>quantity</th><th class=\"n\">value</th>"
      "<th class=\"n\">range</th><th>unit</th><th>source</th></tr>\n",
      EscapeHtml(inputs.technology.title), EscapeHtml(inputs.technology.note));
  for (const Quantity& quantity : inputs.quantities) {
    html += "<tr>" + Cell(quantity.name) + Cell(ShortNumber(quantity.value), true) +
            Cell(ShortNumber(quantity.low) + " – " + ShortNumber(quantity.high), true) +
            Cell(EscapeHtml(quantity.unit)) +
            Cell(fmt::format("<small>{}{}</small>", quantity.assumed ? "assumed: " : "",
                             EscapeHtml(quantity.source))) +
            "</tr>\n";
  }
  return html + "</table>\n";
}

}  // namespace

Result<std::vector<Comparison>> ComparePublished() {
  ETCH_ASSIGN_OR_RETURN(const std::vector<PublishedSystem> systems, LoadPublished());
  std::vector<Comparison> comparisons;
  for (const PublishedSystem& chip : systems) {
    ETCH_ASSIGN_OR_RETURN(Design design, LoadDesign(chip.name));
    ETCH_ASSIGN_OR_RETURN(Inputs inputs, LoadInputs(design.technology));
    for (const Quantity& quantity : design.replaced) {
      ETCH_TRY(inputs.Replace(quantity));
    }
    ETCH_ASSIGN_OR_RETURN(const Model model, Model::Create(std::move(design), inputs));
    const Estimate estimate = EstimateOf(model, inputs);
    for (const PublishedFigure& figure : chip.figures) {
      const Ranged& ranged = estimate.Of(figure.metric);
      comparisons.push_back({chip.title, figure.metric, ranged.value, ranged.low, ranged.high,
                             figure.value, figure.source, figure.note, figure.explanation,
                             figure.standing});
    }
  }
  return comparisons;
}

Study StudyOf(const Model& model, const Inputs& inputs) {
  Study study;
  study.estimate = EstimateOf(model, inputs);
  study.over_context = SpeedOverContext(model, inputs);
  study.over_users = SpeedOverUsers(model, inputs);
  study.sweep = Sweep(model.design(), inputs);
  study.capacity = CapacityOf(model, inputs);
  study.volume = CostOverVolume(model, inputs);
  return study;
}

Result<std::string> ReportHtml(const Model& model, const Inputs& inputs, const Study& study) {
  const Design& design = model.design();
  std::string html = fmt::format(
      kHead, EscapeHtml(design.title),
      EscapeHtml(fmt::format("{} in {}; {} in, {} out, {} user{}", design.model,
                             inputs.technology.title, design.use.prompt, design.use.output,
                             design.use.users, design.use.users == 1 ? "" : "s")));
  html += FiguresPart(study.estimate);
  html += Blocks(model, study.estimate);
  html += Speed(study);
  html += SweepPart(study);
  html += CapacityPart(model, study.capacity);
  html += Volume(study);
  ETCH_ASSIGN_OR_RETURN(const std::string market, Market(model, study.estimate));
  html += market;
  ETCH_ASSIGN_OR_RETURN(const std::vector<Comparison> comparisons, ComparePublished());
  html += Published(comparisons);
  html += Sources(model, inputs);
  return html + "</body></html>\n";
}

}  // namespace etch::chip
