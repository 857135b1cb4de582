#include "chip/estimate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "chip/chip_fixture_test.h"
#include "chip/ranges.h"
#include "image/random_image_test.h"

namespace etch::chip {
namespace {

using test::MakeInputs;
using test::MakeModel;
using test::SmallDesign;

double Metric(const Figures& figures, std::string_view name) {
  return figures.metrics[MetricIndex(name)];
}

double AreaOf(const Figures& figures, std::string_view block) {
  for (const Block& one : figures.blocks) {
    if (one.name == block) {
      return one.area_mm2;
    }
  }
  ADD_FAILURE() << "no block " << block;
  return 0.0;
}

// All by hand: a block's matrices are q 64x64, k and v 32x64, o 64x64, gate and up 128x64 and down
// 64x128.
constexpr double kLayerWeights = 64 * 64 + 2 * 32 * 64 + 64 * 64 + 3 * 128 * 64;

TEST(Estimate, CountsCanBeCheckedByHand) {
  const Inputs inputs = MakeInputs("unit");
  const Model model = MakeModel(SmallDesign(), inputs);
  const Counts& counts = model.counts();
  EXPECT_EQ(counts.weights, 2 * 96 * 64 + 2 * kLayerWeights);
  EXPECT_EQ(counts.embedding_bits, 96 * 64 * 3);
  EXPECT_EQ(counts.head_bits, 96 * 64 * 3);
  EXPECT_EQ(counts.layer_bits, 2 * kLayerWeights * 3);
  EXPECT_EQ(counts.group_bits, counts.weights / 32 * 6);
  // Keys of 14 bits and values of 8 for one head of 32, an exponent of 5 for each; 2 layers, 128
  // positions.
  EXPECT_EQ(counts.cache_bits, (32 * 14 + 32 * 8 + 2 * 5) * 2 * 128);
  // A token multiplies every weight but the embedding's.
  EXPECT_EQ(counts.products, 96 * 64 + 2 * kLayerWeights);
  EXPECT_EQ(counts.weight_bits, counts.products * (3 + 6.0 / 32));
  EXPECT_EQ(counts.lanes, 32);
}

TEST(Estimate, WideFormatsTakeMoreSteps) {
  const Inputs inputs = MakeInputs("unit");
  Design design = SmallDesign();
  const Counts narrow = MakeModel(design, inputs).counts();
  EXPECT_EQ(narrow.lane_steps, narrow.products);
  design.shape.w6.emplace(model::Role::kDown, 1);
  design.shape.a16.emplace(model::InputSite::kDown, 1);
  const Counts wide = MakeModel(design, inputs).counts();
  constexpr double kDown = 64 * 128;
  EXPECT_EQ(wide.products, narrow.products);
  EXPECT_EQ(wide.lane_steps, narrow.lane_steps + 3 * kDown) << "four a weight";
  EXPECT_EQ(wide.weight_bits, narrow.weight_bits + (12 - 3) * kDown) << "codes of 6 bits, twice";
}

TEST(Estimate, TheUnitTechnologyMeasuresCounts) {
  const Inputs inputs = MakeInputs("unit");
  const Model model = MakeModel(SmallDesign(), inputs);
  const Figures figures = model.Evaluate(inputs.Nominal());
  const Counts& counts = model.counts();
  // One bit is one µm² and one transistor.
  EXPECT_DOUBLE_EQ(AreaOf(figures, "layers' weight ROM"), counts.layer_bits * 1e-6);
  EXPECT_DOUBLE_EQ(AreaOf(figures, "context SRAM"), counts.cache_bits * 1e-6);
  const auto value = [&](const char* name) { return inputs.Find(name)->value; };
  EXPECT_DOUBLE_EQ(
      AreaOf(figures, "base lanes"),
      32 * (value("narrow_lane_um2") + value("bank_um2") / value("lanes_per_bank")) * 1e-6);
  for (const Block& block : figures.blocks) {
    if (block.kind == BlockKind::kSram) {
      EXPECT_DOUBLE_EQ(block.transistors, block.area_mm2 * 1e6) << block.name;
    }
  }
}

TEST(Estimate, BlocksAddUp) {
  for (const std::string& name : DataNames("chip/presets")) {
    const Design design = *LoadDesign(name);
    const Inputs inputs = MakeInputs(design.technology);
    const Model model = MakeModel(design, inputs);
    const Figures figures = model.Evaluate(inputs.Nominal());
    double area = 0.0;
    double transistors = 0.0;
    double energy = 0.0;
    double leakage = 0.0;
    for (const Block& block : figures.blocks) {
      area += block.area_mm2;
      transistors += block.transistors;
      energy += block.energy_nj * 1e-9;
      leakage += block.leakage_w;
    }
    EXPECT_DOUBLE_EQ(Metric(figures, "area_mm2"), area) << name;
    EXPECT_DOUBLE_EQ(Metric(figures, "transistors"), transistors) << name;
    EXPECT_NEAR(Metric(figures, "mj_per_token") * 1e-3,
                energy + leakage / Metric(figures, "tokens_per_s_total"), energy * 1e-9)
        << name;
  }
}

TEST(Estimate, RomBitsAreTheImagesWeightBits) {
  const auto image =
      image::test::RandomImage(image::test::OddConfig(), 1, numerics::WeightFormat::kW6);
  plan::Choices choices;
  choices.lanes = 16;
  choices.context = 32;
  const Result<Design> design = DesignOf(*image, "odd", choices);
  ASSERT_TRUE(design) << design.error().message;
  const Model model = MakeModel(*design, MakeInputs("n6"));
  double codes = 0.0;
  double groups = 0.0;
  for (const plan::MatrixPlace& place : model.plan().matrices) {
    const numerics::WeightView view = image->Weights(place.role, place.layer);
    const auto padded = static_cast<double>(view.rows * ((view.cols + 31) / 32 * 32));
    codes += padded * (view.format == numerics::WeightFormat::kW6 ? 6 : 3);
    groups += padded / 32 * 6;
  }
  const Counts& counts = model.counts();
  EXPECT_EQ(counts.embedding_bits + counts.layer_bits + counts.head_bits, codes);
  EXPECT_EQ(counts.group_bits, groups);
}

TEST(Estimate, MoreOfAThingIsMoreOfWhatItCosts) {
  const Inputs inputs = MakeInputs("n6");
  const auto evaluate = [&](auto change) {
    Design design = SmallDesign();
    change(design);
    return MakeModel(design, inputs).Evaluate(inputs.Nominal());
  };
  const Figures base = evaluate([](Design&) {});
  const auto more = [&](const char* metric, auto change) {
    EXPECT_GT(Metric(evaluate(change), metric), Metric(base, metric)) << metric;
  };
  more("area_mm2", [](Design& d) { d.choices.lanes = 64; });
  more("tokens_per_s_user", [](Design& d) { d.choices.lanes = 64; });
  more("area_mm2", [](Design& d) { d.weights.code_bits = 4; });
  more("mj_per_token", [](Design& d) { d.weights.code_bits = 4; });
  more("area_mm2", [](Design& d) { d.choices.sessions = 2; });
  more("area_mm2", [](Design& d) { d.choices.adapter_slots = 2; });
  more("mj_per_token", [](Design& d) { d.use.adapter = true; });
  more("first_token_ms", [](Design& d) { d.use.prompt = 64; });
  more("tokens_per_s_user", [](Design& d) { d.voltage = 0.9; });
  more("mj_per_token", [](Design& d) { d.voltage = 0.9; });
  more("area_mm2", [](Design& d) { d.experts = 4; });
  more("prompt_tokens_per_s", [](Design& d) { d.prompt_batch = 4; });
}

TEST(Estimate, WhatDoesNotFitIsRefused) {
  const Inputs inputs = MakeInputs("n6");
  Design design = SmallDesign();
  design.use.prompt = 128;
  const Result<Model> model = Model::Create(design, inputs);
  ASSERT_FALSE(model);
  EXPECT_EQ(model.error().message,
            "a prompt of 128 and 16 more tokens do not fit a context of 128");
  design = SmallDesign();
  design.voltage = 0.1;
  EXPECT_FALSE(Model::Create(design, inputs));
  const auto refused = [&](auto change) {
    Design other = SmallDesign();
    change(other);
    return !Model::Create(other, inputs);
  };
  EXPECT_TRUE(refused([](Design& d) { d.use.users = 0; }));
  EXPECT_TRUE(refused([](Design& d) { d.use.prompt = 0; }));
  EXPECT_TRUE(refused([](Design& d) { d.use.output = 0; }));
  EXPECT_TRUE(refused([](Design& d) { d.use.users = int64_t{1} << 24; })) << "no end in sight";
  EXPECT_TRUE(refused([](Design& d) { d.prompt_batch = 0; }));
  EXPECT_TRUE(refused([](Design& d) { d.weights.code_bits = 8.0; }));
  design = SmallDesign();
  design.choices.lanes = 33;
  EXPECT_FALSE(Model::Create(design, inputs));
}

TEST(Estimate, ADieBeyondTheReticleIsSeveral) {
  Design design = *LoadDesign("hc1");
  const Inputs inputs = MakeInputs(design.technology);
  EXPECT_EQ(MakeModel(design, inputs).design().chips, 1);
  design.choices.sessions = 16;
  const Model model = MakeModel(design, inputs);
  EXPECT_GT(model.design().chips, 1);
  EXPECT_GE(model.design().choices.stages, model.design().chips);
  const Figures figures = model.Evaluate(inputs.Nominal());
  EXPECT_LE(Metric(figures, "reticle_share"), 1.0);
}

// Ranges and values anywhere in what their files allow: nothing negative, nothing that is no
// number.
TEST(Estimate, NoInputMakesNonsense) {
  std::mt19937_64 random(5);
  std::uniform_real_distribution<double> share(0.0, 1.0);
  for (const std::string& technology : DataNames("tech")) {
    Inputs inputs = MakeInputs(technology);
    for (const std::string& name : DataNames("chip/presets")) {
      Design design = *LoadDesign(name);
      design.use = {2, 8, 4, false, false};
      const Model model = MakeModel(design, inputs);
      for (int round = 0; round < 8; ++round) {
        Values values = inputs.Nominal();
        for (const Quantity& quantity : inputs.quantities) {
          const double factor = std::pow(10.0, 4.0 * share(random) - 2.0);
          double& value = values[quantity.name];
          value = share(random) < 0.5
                      ? quantity.low + share(random) * (quantity.high - quantity.low)
                      : value * factor;
        }
        for (const char* most_one :
             {"utilisation", "rom_array_efficiency", "test_yield", "sram_array_efficiency",
              "supply_efficiency", "utilisation_of_time", "defect_tolerant_fraction",
              "lane_select_share"}) {
          values[most_one] = std::min(values[most_one], 1.0);
        }
        // A design's own voltage is checked against the threshold when the model is made.
        values["threshold_v"] = std::min(values["threshold_v"], values["voltage_v"] * 0.9);
        const Figures figures = model.Evaluate(values);
        for (size_t index = 0; index < figures.metrics.size(); ++index) {
          EXPECT_TRUE(std::isfinite(figures.metrics[index]) && figures.metrics[index] >= 0.0)
              << technology << " " << name << " " << Metrics()[index].name << " "
              << figures.metrics[index];
        }
        for (const Block& block : figures.blocks) {
          EXPECT_TRUE(block.area_mm2 >= 0.0 && block.transistors >= 0.0 && block.energy_nj >= 0.0 &&
                      block.leakage_w >= 0.0)
              << name << " " << block.name;
        }
      }
    }
  }
  for (const MetricInfo& info : Metrics()) {
    EXPECT_FALSE(info.unit.empty() || info.title.empty()) << info.name;
  }
}

TEST(Ranges, ContainTheValueAndNameWhatMatters) {
  const Design design = *LoadDesign("hc1");
  const Inputs inputs = MakeInputs("n6");
  const Estimate estimate = EstimateOf(MakeModel(design, inputs), inputs);
  for (size_t index = 0; index < Metrics().size(); ++index) {
    const Ranged& ranged = estimate.metrics[index];
    EXPECT_LE(ranged.low, ranged.value) << Metrics()[index].name;
    EXPECT_GE(ranged.high, ranged.value) << Metrics()[index].name;
    EXPECT_LE(ranged.influences.size(), 3U);
  }
  // The clock is all that a user's tokens/s depend on.
  const Ranged& speed = estimate.Of("tokens_per_s_user");
  ASSERT_EQ(speed.influences.size(), 1U);
  EXPECT_EQ(speed.influences[0].quantity, "clock_ghz");
  EXPECT_DOUBLE_EQ(speed.low, speed.influences[0].at_low);
  // Without ranges there is none.
  Inputs exact = inputs;
  for (Quantity& quantity : exact.quantities) {
    quantity.low = quantity.high = quantity.value;
  }
  const Estimate sure = EstimateOf(MakeModel(design, exact), exact);
  EXPECT_EQ(sure.Of("area_mm2").low, sure.Of("area_mm2").high);
}

// One changed input of a known effect: the range is that effect.
TEST(Ranges, AddUpAsSquares) {
  Inputs inputs = MakeInputs("unit");
  for (Quantity& quantity : inputs.quantities) {
    quantity.low = quantity.high = quantity.value;
  }
  const auto widen = [&](const char* name, double by) {
    Quantity quantity = *inputs.Find(name);
    quantity.high += by;
    ASSERT_TRUE(inputs.Replace(quantity));
  };
  const Model model = MakeModel(SmallDesign(), inputs);
  widen("rom_transistors_per_bit", 1.0);
  widen("sram_transistors_per_bit", 1.0);
  const Ranged transistors = EstimateOf(model, inputs).Of("transistors");
  const double rom = model.counts().rom_bits();
  const double sram = model.counts().sram_bits() +
                      model.counts().lanes * inputs.Find("narrow_lane_memory_bits")->value;
  const double by_rom = std::log1p(rom / transistors.value);
  const double by_sram = std::log1p(sram / transistors.value);
  EXPECT_NEAR(std::log(transistors.high / transistors.value), std::hypot(by_rom, by_sram), 1e-9);
  EXPECT_EQ(transistors.low, transistors.value);
}

}  // namespace
}  // namespace etch::chip
