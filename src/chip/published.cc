#include "chip/published.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "chip/estimate.h"
#include "chip/inputs.h"

namespace etch::chip {
namespace {

using Json = nlohmann::json;

std::string TextOf(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::optional<double> NumberOf(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number()) {
    return std::nullopt;
  }
  return found->get<double>();
}

// The list "systems" of a file of the program's own data.
Result<Json> Systems(std::string_view name) {
  ETCH_ASSIGN_OR_RETURN(const std::string_view text, FindData(name));
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object() || !json.contains("systems") || !json["systems"].is_array()) {
    return Fail(ErrorCode::kMalformed, "{}: systems: a list is needed", name);
  }
  return json["systems"];
}

bool IsMetric(const std::string& name) {
  return std::ranges::any_of(Metrics(), [&](const MetricInfo& info) { return info.name == name; });
}

}  // namespace

Result<std::vector<PublishedSystem>> LoadPublished() {
  constexpr std::string_view kFile = "chip/published.json";
  ETCH_ASSIGN_OR_RETURN(const Json list, Systems(kFile));
  std::vector<PublishedSystem> systems;
  for (const Json& one : list) {
    PublishedSystem chip{TextOf(one, "name"), TextOf(one, "title"), {}};
    const Json targets = one.value("targets", Json::object());
    for (const auto& [metric, target] : targets.items()) {
      const std::optional<double> value = NumberOf(target, "value");
      if (!value || !IsMetric(metric)) {
        return Fail(ErrorCode::kMalformed, "{}: {}.targets.{}: no such metric, or no value", kFile,
                    chip.name, metric);
      }
      chip.figures.push_back({metric, *value, TextOf(target, "source"), TextOf(target, "note"),
                              TextOf(target, "explanation"), TextOf(target, "standing")});
    }
    systems.push_back(std::move(chip));
  }
  return systems;
}

Result<std::vector<MarketEntry>> LoadMarket() {
  ETCH_ASSIGN_OR_RETURN(const Json list, Systems("chip/market.json"));
  std::vector<MarketEntry> entries;
  for (const Json& one : list) {
    entries.push_back({TextOf(one, "name"), TextOf(one, "model"),
                       NumberOf(one, "tokens_per_s_user"), NumberOf(one, "usd_per_mtoken"),
                       TextOf(one, "source")});
  }
  return entries;
}

}  // namespace etch::chip
