#include "chip/studies.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "chip/chip_fixture_test.h"
#include "chip/cost.h"
#include "chip/floorplan.h"
#include "chip/report.h"

namespace etch::chip {
namespace {

using test::MakeInputs;
using test::MakeModel;
using test::SmallDesign;

TEST(Cost, FormulasOfTheTrade) {
  // An 815 mm² die on a wafer of 300 mm: 63 by the formula without edge and scribe lines.
  EXPECT_NEAR(DiesPerWafer(815.0, 300.0, 0.0, 0.0), 63.4, 0.1);
  EXPECT_LT(DiesPerWafer(815.0, 300.0, 3.0, 0.1), DiesPerWafer(815.0, 300.0, 0.0, 0.0));
  EXPECT_EQ(DiesPerWafer(1e6, 300.0, 3.0, 0.1), 0.0);
  // 0.09 defects a cm²: 48.0 % and 50.2 %.
  EXPECT_NEAR(PoissonYield(8.15 * 0.09), 0.480, 0.001);
  EXPECT_NEAR(MurphyYield(8.15 * 0.09), 0.502, 0.001);
  EXPECT_EQ(MurphyYield(0.0), 1.0);
}

TEST(Cost, APriceIsWhatIsPaidOverWhatIsMade) {
  Values values = MakeInputs("n6").Nominal();
  CostInputs inputs{800.0, 1.0, 200.0, 17000.0};
  const Costs costs = CostsOf(values, inputs);
  EXPECT_NEAR(costs.card_w,
              200.0 / values["supply_efficiency"] + values["card_overhead_w"], 1e-9);
  EXPECT_NEAR(costs.server_w, values["cards_per_server"] * costs.card_w + values["server_base_w"],
              1e-9);
  values["utilisation_of_time"] /= 2.0;
  EXPECT_NEAR(CostsOf(values, inputs).usd_per_mtoken, 2.0 * costs.usd_per_mtoken, 1e-9);
  inputs.tokens_per_s *= 2.0;
  EXPECT_NEAR(CostsOf(values, inputs).usd_per_mtoken, costs.usd_per_mtoken, 1e-9);
  EXPECT_GT(costs.usd_per_mtoken_nre, costs.usd_per_mtoken);
}

TEST(Studies, SpeedFallsWithContextAndIsSharedByUsers) {
  const Inputs inputs = MakeInputs("n6");
  const Model model = MakeModel(SmallDesign(), inputs);
  const std::vector<SpeedPoint> context = SpeedOverContext(model, inputs);
  ASSERT_GE(context.size(), 3U);
  EXPECT_TRUE(std::ranges::is_sorted(context, std::greater<>(), &SpeedPoint::tokens_per_s_user));
  const std::vector<SpeedPoint> users = SpeedOverUsers(model, inputs);
  EXPECT_NEAR(users.back().tokens_per_s_user * static_cast<double>(users.back().users),
              users.back().tokens_per_s_total, 0.1 * users.back().tokens_per_s_total);
}

TEST(Studies, TheFrontOfASweepIsNotBeaten) {
  const Inputs inputs = MakeInputs("n6");
  const std::vector<SweepPoint> points = Sweep(SmallDesign(), inputs);
  ASSERT_GE(points.size(), 6U);
  int best = 0;
  for (const SweepPoint& point : points) {
    best += point.best ? 1 : 0;
    for (const SweepPoint& other : points) {
      EXPECT_FALSE(point.best && other.area_mm2 < point.area_mm2 &&
                   other.tokens_per_s_total > point.tokens_per_s_total);
    }
  }
  EXPECT_GE(best, 2);
}

TEST(Studies, CapacityIsWhatTheReticleLeaves) {
  const Design design = *LoadDesign("hc1");
  const Inputs inputs = MakeInputs("n6");
  const Model model = MakeModel(design, inputs);
  const CapacityStudy study = CapacityOf(model, inputs);
  ASSERT_EQ(study.contexts.size(), 4U);
  // 65,536 values a token of 8 bits and 5 bits a block of 32: 65.25 MiB a thousand.
  EXPECT_NEAR(study.contexts[0].mib_per_user, 64.0 * (1.0 + 5.0 / 32 / 8), 0.01);
  // 84 MB in 16 bits at all linear layers: 41.9 million weights.
  EXPECT_NEAR(study.adapter_mib_16_bit * 1024 * 1024, 83.9e6, 0.1e6);
  // As many users as fit by area do fit, and one more does not.
  const double reticle = inputs.Find("reticle_mm2")->value;
  const auto area = [&](int64_t users) {
    Design other = design;
    other.choices.sessions = users;
    other.choices.context = 1024;
    other.use.prompt = 16;
    other.use.output = 16;
    other.chips = 1;
    const Model with = MakeModel(other, inputs);
    return with.Evaluate(inputs.Nominal()).metrics[MetricIndex("area_mm2")];
  };
  const int64_t users = study.contexts[0].users;
  ASSERT_GE(users, 1);
  EXPECT_LE(area(users), reticle * 1.01);
  EXPECT_GT(area(users + 1), reticle * 0.99);
}

TEST(Floorplan, IsToScaleWithoutOverlap) {
  for (const std::string& name : DataNames("chip/presets")) {
    const Design design = *LoadDesign(name);
    const Inputs inputs = MakeInputs(design.technology);
    const Model model = MakeModel(design, inputs);
    const Figures figures = model.Evaluate(inputs.Nominal());
    const auto chips = static_cast<double>(model.design().chips);
    const std::vector<Place> places = Floorplan(figures.blocks, chips);
    double area = 0.0;
    for (const Place& place : places) {
      area += place.width * place.height;
    }
    const double die = figures.metrics[MetricIndex("die_mm2")];
    EXPECT_NEAR(area, die, 1e-6 * die);
    const double side = std::sqrt(die);
    const double slack = 1e-6 * side;
    for (size_t first = 0; first < places.size(); ++first) {
      const Place& one = places[first];
      EXPECT_TRUE(one.x >= -slack && one.y >= -slack && one.x + one.width <= side + slack &&
                  one.y + one.height <= side + slack)
          << name << " " << one.block;
      for (size_t second = first + 1; second < places.size(); ++second) {
        const Place& two = places[second];
        const bool apart = one.x + one.width <= two.x + slack ||
                           two.x + two.width <= one.x + slack ||
                           one.y + one.height <= two.y + slack ||
                           two.y + two.height <= one.y + slack;
        EXPECT_TRUE(apart) << name << ": " << one.block << " and " << two.block;
      }
    }
    for (const Block& block : figures.blocks) {
      const auto found = std::ranges::find(places, block.name, &Place::block);
      if (block.area_mm2 > 0.0) {
        ASSERT_NE(found, places.end());
        EXPECT_NEAR(found->width * found->height, block.area_mm2 / chips,
                    1e-6 * block.area_mm2 / chips);
      }
    }
  }
}

TEST(Report, HoldsItselfTogether) {
  const Design design = *LoadDesign("hc1");
  const Inputs inputs = MakeInputs("n6");
  const Model model = MakeModel(design, inputs);
  const Result<std::string> html = ReportHtml(model, inputs, StudyOf(model, inputs));
  ASSERT_TRUE(html) << html.error().message;
  for (const char* outside : {"src=", "href=", "@import", "url("}) {
    EXPECT_EQ(html->find(outside), std::string::npos) << outside;
  }
  for (const Quantity& quantity : inputs.quantities) {
    EXPECT_NE(html->find(quantity.name), std::string::npos) << quantity.name;
  }
  for (const char* nonsense : {">nan", ">-nan", ">inf", "\"nan", "\"inf", ">-0<"}) {
    EXPECT_EQ(html->find(nonsense), std::string::npos) << nonsense;
  }
}

}  // namespace
}  // namespace etch::chip
