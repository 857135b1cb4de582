#include "chip/inputs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "chip/design.h"
#include "chip/published.h"

namespace etch::chip {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::ordered_json;

Json Read(std::string_view name) { return Json::parse(*FindData(name)); }

std::string TechnologyError(const Json& json) {
  const Result<Technology> technology = ParseTechnology(json.dump(), "mine");
  return technology ? "" : technology.error().message;
}

TEST(Technology, EveryBuiltInHasUnitRangeAndSource) {
  const std::vector<std::string> names = DataNames("tech");
  EXPECT_GE(names.size(), 7U);
  for (const std::string& name : names) {
    const Result<Inputs> inputs = LoadInputs(name);
    ASSERT_TRUE(inputs) << inputs.error().message;
    for (const Quantity& quantity : inputs->quantities) {
      EXPECT_LE(quantity.low, quantity.value) << name << " " << quantity.name;
      EXPECT_LE(quantity.value, quantity.high) << name << " " << quantity.name;
      EXPECT_FALSE(quantity.unit.empty() || quantity.source.empty()) << name << quantity.name;
    }
  }
}

TEST(Technology, AnErrorNamesTheField) {
  const Json good = Read("tech/n6.json");
  ASSERT_EQ(TechnologyError(good), "");
  const auto with = [&](auto change) {
    Json json = good;
    change(json);
    return TechnologyError(json);
  };
  EXPECT_EQ(with([](Json& j) { j["values"].erase("wafer_usd"); }),
            "mine: values.wafer_usd is missing");
  EXPECT_EQ(with([](Json& j) { j["values"]["speed"] = 3; }), "mine: values.speed is unknown");
  EXPECT_THAT(with([](Json& j) { j["values"]["rom_cell_um2"]["value"] = -1; }),
              HasSubstr("mine: values.rom_cell_um2: -1 does not lie between low"));
  EXPECT_EQ(with([](Json& j) { j["values"]["rom_cell_um2"]["unit"] = "nm2"; }),
            "mine: values.rom_cell_um2.unit: \"nm2\", not \"um2\"");
  EXPECT_EQ(with([](Json& j) { j["values"]["rom_cell_um2"].erase("source"); }),
            "mine: values.rom_cell_um2.source: a text is needed");
  EXPECT_EQ(with([](Json& j) { j["values"]["clock_ghz"]["low"] = "fast"; }),
            "mine: values.clock_ghz.low: a number is needed");
  EXPECT_THAT(with([](Json& j) {
                for (const char* key : {"value", "high"}) {
                  j["values"]["utilisation"][key] = 1.5;
                }
              }),
              HasSubstr("mine: values.utilisation: "));
  EXPECT_EQ(with([](Json& j) { j.erase("title"); }), "mine: title: a text is needed");
  EXPECT_EQ(TechnologyError(Json::array()), "mine: a JSON object with \"values\" is needed");
  EXPECT_THAT(LoadTechnology("n4").error().message, HasSubstr("no technology \"n4\"; there are"));
}

TEST(Design, EveryPresetIsRead) {
  for (const std::string& name : DataNames("chip/presets")) {
    const Result<Design> design = LoadDesign(name);
    ASSERT_TRUE(design) << design.error().message;
    EXPECT_EQ(design->name, name);
    EXPECT_FALSE(design->assumptions.empty()) << name;
  }
  EXPECT_THAT(LoadDesign("hc9").error().message, HasSubstr("presets are"));
}

TEST(Design, AnErrorNamesTheField) {
  const Json good = Read("chip/presets/hc1.json");
  const auto with = [&](auto change) {
    Json json = good;
    change(json);
    const Result<Design> design = ParseDesign(json.dump(), "mine");
    return design ? "" : design.error().message;
  };
  EXPECT_EQ(with([](Json&) {}), "");
  EXPECT_EQ(with([](Json& j) { j["model"]["dim"] = 4.5; }),
            "mine.model.dim: a whole number from 32 to 1048576 is needed");
  EXPECT_EQ(with([](Json& j) { j["model"].erase("vocab"); }), "mine.model.vocab: is missing");
  EXPECT_EQ(with([](Json& j) { j["weights"]["rom"] = "tape"; }),
            "mine.weights.rom: \"mask\", \"logic\" or \"spatial\" is needed");
  EXPECT_EQ(with([](Json& j) { j["choices"]["lane"] = 5; }), "mine.choices.lane: unknown field");
  EXPECT_EQ(with([](Json& j) { j["quantities"]["lane"] = 5; }),
            "mine.quantities.lane: no quantity of that name");
  EXPECT_EQ(with([](Json& j) { j.erase("technology"); }), "mine.technology: is missing");
  EXPECT_EQ(with([](Json& j) { j["use"] = 3; }), "mine.use: an object is needed");
}

// Bytes of real files, changed at random: an error that says where, never a crash.
TEST(Design, ChangedFilesAreRefusedOrRead) {
  std::mt19937_64 random(7);
  for (const char* name : {"chip/presets/hc1.json", "tech/n6.json"}) {
    const std::string text(*FindData(name));
    for (int round = 0; round < 400; ++round) {
      std::string changed = text;
      for (int change = 0; change < 3; ++change) {
        const size_t at = random() % changed.size();
        switch (random() % 3) {
          case 0:
            changed[at] = static_cast<char>("0-9.e\"{}[]x"[random() % 11]);
            break;
          case 1:
            changed.erase(at, random() % 20);
            break;
          default:
            changed.insert(at, changed.substr(random() % changed.size(), 5));
        }
      }
      const Result<Design> design = ParseDesign(changed, "mine");
      const Result<Technology> technology = ParseTechnology(changed, "mine");
      for (const std::string& message : {design ? "" : design.error().message,
                                         technology ? "" : technology.error().message}) {
        EXPECT_TRUE(message.empty() || message.starts_with("mine")) << message;
      }
    }
  }
}

TEST(Published, EveryFigureIsOfAPresetAndAMetric) {
  const Result<std::vector<PublishedSystem>> systems = LoadPublished();
  ASSERT_TRUE(systems) << systems.error().message;
  const std::vector<std::string> presets = DataNames("chip/presets");
  for (const PublishedSystem& system : *systems) {
    EXPECT_THAT(presets, ::testing::Contains(system.name));
    for (const PublishedFigure& figure : system.figures) {
      EXPECT_GT(figure.value, 0.0) << system.name << " " << figure.metric;
      EXPECT_FALSE(figure.source.empty()) << system.name << " " << figure.metric;
    }
  }
  const Result<std::vector<MarketEntry>> market = LoadMarket();
  ASSERT_TRUE(market) << market.error().message;
  EXPECT_GE(market->size(), 6U);
  for (const MarketEntry& entry : *market) {
    EXPECT_FALSE(entry.source.empty()) << entry.name;
  }
}

}  // namespace
}  // namespace etch::chip
