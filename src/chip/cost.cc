#include "chip/cost.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.h"

namespace etch::chip {
namespace {

constexpr double kHoursAYear = 8766.0;

double At(const Values& values, std::string_view name) {
  const auto found = values.find(name);
  ETCH_CHECK(found != values.end(), "no quantity {}", name);
  return found->second;
}

}  // namespace

double DiesPerWafer(double die_mm2, double wafer_mm, double edge_mm, double scribe_mm) {
  const double side = std::sqrt(die_mm2) + scribe_mm;
  const double with_scribe = side * side;
  const double diameter = std::max(wafer_mm - 2.0 * edge_mm, 0.0);
  const double pi = std::numbers::pi;
  const double dies = pi * diameter * diameter / 4.0 / with_scribe -
                      pi * diameter / std::sqrt(2.0 * with_scribe);
  return std::max(dies, 0.0);
}

double MurphyYield(double defects) {
  if (defects < 1e-9) {
    return 1.0;
  }
  return std::pow((1.0 - std::exp(-defects)) / defects, 2.0);
}

double PoissonYield(double defects) { return std::exp(-defects); }

Costs CostsOf(const Values& values, const CostInputs& inputs) {
  const auto of = [&](std::string_view name) { return At(values, name); };
  Costs costs;
  // A die larger than a wafer has none whole; one is counted, so that nothing divides by nought.
  costs.dies_per_wafer = std::max(
      1.0, DiesPerWafer(inputs.die_mm2, of("wafer_mm"), of("edge_mm"), of("scribe_mm")));
  const double defects = inputs.die_mm2 / 100.0 * of("defects_per_cm2") *
                         (1.0 - of("defect_tolerant_fraction"));
  constexpr double kLeastYield = 1e-6;
  costs.yield_murphy = std::max(MurphyYield(defects), kLeastYield);
  costs.yield_poisson = std::max(PoissonYield(defects), kLeastYield);
  costs.die_usd =
      of("wafer_usd") / (costs.dies_per_wafer * costs.yield_murphy) + of("test_usd");
  costs.card_usd = (costs.die_usd + of("package_usd")) / of("test_yield") + of("card_base_usd");
  const double cards = of("cards_per_server");
  costs.server_usd = cards * costs.card_usd + of("server_base_usd");
  costs.card_w = inputs.chip_w / of("supply_efficiency") + of("card_overhead_w");
  costs.server_w = cards * costs.card_w + of("server_base_w");

  const double share = inputs.chips / cards;  // of a server
  costs.instance_w = share * costs.server_w;
  const double volume = std::max(1.0, of("volume_chips") / inputs.chips);  // models sold
  costs.respin_usd = inputs.chips * of("respin_two_masks_usd") + of("respin_design_usd");
  const double fabric = of("design_nre_usd") + of("mask_set_usd");
  costs.nre_usd = fabric + costs.respin_usd;

  const double years = of("lifetime_years");
  const double tokens =
      inputs.tokens_per_s * of("utilisation_of_time") * kHoursAYear * 3600.0 * years;
  const double kilowatts = costs.instance_w / 1000.0;
  const double running = years * kilowatts * (kHoursAYear * of("pue") *
                                                  of("electricity_usd_per_kwh") +
                                              12.0 * of("hosting_usd_per_kw_month"));
  const double bought = share * costs.server_usd + costs.respin_usd / volume;
  const double millions = std::max(tokens / 1e6, 1e-9);
  costs.usd_per_mtoken = (bought + running) / millions;
  costs.usd_per_mtoken_nre = (bought + running + fabric / volume) / millions;
  return costs;
}

}  // namespace etch::chip
