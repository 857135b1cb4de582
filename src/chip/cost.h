#pragma once

// From a die to the price of a million tokens: wafer, yield, package, card, server, energy, and
// what new weights cost in masks.

#include "chip/quantity.h"

namespace etch::chip {

struct CostInputs {
  double die_mm2 = 0.0;
  double chips = 1.0;   // of one model
  double chip_w = 0.0;  // while it works
  double tokens_per_s = 0.0;  // of the model, all users
};

struct Costs {
  double dies_per_wafer = 0.0;
  double yield_murphy = 0.0;
  double yield_poisson = 0.0;
  double die_usd = 0.0;     // good, tested
  double card_usd = 0.0;
  double server_usd = 0.0;
  double card_w = 0.0;      // at the wall
  double server_w = 0.0;
  double instance_w = 0.0;  // the model's cards and its share of servers
  double respin_usd = 0.0;  // two masks a chip, and the work
  double nre_usd = 0.0;     // fabric and full mask set, and a respin
  double usd_per_mtoken = 0.0;
  double usd_per_mtoken_nre = 0.0;
};

// Gross dies: pi (d/2)^2 / S - pi d / sqrt(2 S), d without the edge, S with scribe lines.
double DiesPerWafer(double die_mm2, double wafer_mm, double edge_mm, double scribe_mm);
// Of `defects` expected on a die: Murphy ((1 - e^-m) / m)^2, Poisson e^-m.
double MurphyYield(double defects);
double PoissonYield(double defects);

Costs CostsOf(const Values& values, const CostInputs& inputs);

}  // namespace etch::chip
