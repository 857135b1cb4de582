#include "cli/chip/print.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/chart.h"
#include "chip/floorplan.h"

namespace etch::cli {
namespace {

using Json = nlohmann::ordered_json;

std::string WithUnit(double value, std::string_view unit) {
  return unit == "1" ? ShortNumber(value) : fmt::format("{} {}", ShortNumber(value), unit);
}

void PrintChoices(const chip::Model& model, const chip::Inputs& inputs) {
  const chip::Design& design = model.design();
  const plan::Choices& choices = design.choices;
  fmt::print("{}\n", design.title);
  fmt::print("model        {}, {} weights\n", design.model, ShortNumber(model.counts().weights));
  fmt::print("technology   {}{}\n", inputs.technology.title,
             design.voltage > 0.0 ? fmt::format(" at {} V", design.voltage) : "");
  fmt::print(
      "units        {} lanes, {} layer{} in flight, {} elements and {} attention blocks a "
      "cycle\n",
      choices.lanes, choices.stages, choices.stages == 1 ? "" : "s", choices.vector_width,
      choices.attention_width);
  fmt::print("memory       {} user{} of {} tokens, {} adapter{} of rank {}\n", choices.sessions,
             choices.sessions == 1 ? "" : "s", choices.context, choices.adapter_slots,
             choices.adapter_slots == 1 ? "" : "s", choices.adapter_rank);
  fmt::print("stated for   {} tokens in, {} out, {} user{}{}\n\n", design.use.prompt,
             design.use.output, design.use.users, design.use.users == 1 ? "" : "s",
             design.use.adapter ? ", with an adapter" : "");
}

void PrintCapacity(const chip::CapacityStudy& capacity) {
  fmt::print("\n{:>8} {:>12} {:>20}\n", "context", "MiB a user", "users in a reticle");
  for (const chip::Capacity& one : capacity.contexts) {
    fmt::print("{:>8} {:>12} {:>20}\n", one.context, ShortNumber(one.mib_per_user), one.users);
  }
  fmt::print(
      "an adapter takes {} MiB; {} fit beside one user; SRAM takes more area than ROM from "
      "{} users on\n",
      ShortNumber(capacity.adapter_mib), capacity.adapters, capacity.users_sram_exceeds_rom);
}

Json UseJson(const chip::Use& use) {
  return {{"users", use.users},
          {"prompt", use.prompt},
          {"output", use.output},
          {"adapter", use.adapter},
          {"swap", use.swap}};
}

Json ChoicesJson(const chip::Design& design) {
  const plan::Choices& choices = design.choices;
  return {{"lanes", choices.lanes},
          {"splits", choices.splits},
          {"vector_width", choices.vector_width},
          {"attention_width", choices.attention_width},
          {"adapter_lanes", choices.adapter_lanes},
          {"layers_in_flight", choices.stages},
          {"context", choices.context},
          {"users", choices.sessions},
          {"adapter_rank", choices.adapter_rank},
          {"adapter_slots", choices.adapter_slots},
          {"prompt_batch", design.prompt_batch}};
}

Json CountsJson(const chip::Counts& counts) {
  return {{"weights", counts.weights},
          {"embedding_bits", counts.embedding_bits},
          {"layer_bits", counts.layer_bits},
          {"head_bits", counts.head_bits},
          {"group_bits", counts.group_bits},
          {"table_bits", counts.table_bits},
          {"rom_bits", counts.rom_bits()},
          {"cache_bits", counts.cache_bits},
          {"adapter_bits", counts.adapter_bits},
          {"work_bits", counts.work_bits},
          {"sram_bits", counts.sram_bits()},
          {"lanes", counts.lanes},
          {"products_per_token", counts.products},
          {"lane_steps_per_token", counts.lane_steps},
          {"weight_bits_per_token", counts.weight_bits},
          {"cycles_per_token", counts.cycles}};
}

Json CapacityJson(const chip::CapacityStudy& study) {
  Json contexts = Json::array();
  for (const chip::Capacity& capacity : study.contexts) {
    contexts.push_back({{"context", capacity.context},
                        {"mib_per_user", capacity.mib_per_user},
                        {"users", capacity.users}});
  }
  return {{"fixed_mm2", study.fixed_mm2},
          {"room_mib", study.room_mib},
          {"adapter_mib", study.adapter_mib},
          {"adapter_mib_16_bit", study.adapter_mib_16_bit},
          {"adapters", study.adapters},
          {"contexts", std::move(contexts)},
          {"users_sram_exceeds_rom", study.users_sram_exceeds_rom}};
}

Json InputsJson(const chip::Inputs& inputs) {
  Json json = Json::object();
  for (const chip::Quantity& quantity : inputs.quantities) {
    json[quantity.name] = {{"value", quantity.value},     {"low", quantity.low},
                           {"high", quantity.high},       {"unit", quantity.unit},
                           {"assumed", quantity.assumed}, {"source", quantity.source}};
  }
  return json;
}

}  // namespace

void PrintEstimate(const chip::Model& model, const chip::Inputs& inputs,
                   const chip::Estimate& estimate, const chip::CapacityStudy& capacity) {
  PrintChoices(model, inputs);
  fmt::print("{:<26} {:>10} {:>13} {:>11}\n", "block", "mm2", "transistors", "nJ/token");
  for (const chip::Block& block : estimate.blocks) {
    fmt::print("{:<26} {:>10} {:>13} {:>11}\n", block.name, ShortNumber(block.area_mm2),
               ShortNumber(block.transistors), ShortNumber(block.energy_nj));
  }
  fmt::print("\n{:<52} {:>18}  {}\n", "figure", "value", "range, and what it comes from");
  for (size_t index = 0; index < chip::Metrics().size(); ++index) {
    const chip::MetricInfo& info = chip::Metrics()[index];
    const chip::Ranged& ranged = estimate.metrics[index];
    std::vector<std::string> names;
    for (const chip::Influence& influence : ranged.influences) {
      names.push_back(influence.quantity);
    }
    fmt::print("{:<52} {:>18}  {} - {}{}\n", info.title, WithUnit(ranged.value, info.unit),
               ShortNumber(ranged.low), ShortNumber(ranged.high),
               names.empty() ? "" : fmt::format(": {}", fmt::join(names, ", ")));
  }
  const double reticles = estimate.Of("reticle_share").value;
  if (reticles > 1.0) {
    fmt::print("\na die of {:.2f} reticles cannot be made; --chips 0 spreads the model\n",
               reticles);
  }
  if (model.design().cache.on_chip) {
    PrintCapacity(capacity);
  }
  if (!model.design().assumptions.empty()) {
    fmt::print("\nassumed\n");
    for (const chip::Assumption& one : model.design().assumptions) {
      fmt::print("  {}: {}\n", one.what, one.why);
    }
  }
}

void PrintMarket(const std::vector<chip::MarketEntry>& market) {
  const auto number = [](const std::optional<double>& value) {
    return value ? ShortNumber(*value) : std::string("not published");
  };
  fmt::print("\n{:<30} {:<24} {:>14} {:>20}\n", "beside others (as published)", "model",
             "tokens/s user", "USD a million tokens");
  for (const chip::MarketEntry& entry : market) {
    fmt::print("{:<30} {:<24} {:>14} {:>20}\n", entry.name, entry.model,
               number(entry.tokens_per_s_user), number(entry.usd_per_mtoken));
  }
}

Json MarketJson(const std::vector<chip::MarketEntry>& market) {
  const auto number = [](const std::optional<double>& value) {
    return value ? Json(*value) : Json(nullptr);
  };
  Json json = Json::array();
  for (const chip::MarketEntry& entry : market) {
    json.push_back({{"name", entry.name},
                    {"model", entry.model},
                    {"tokens_per_s_user", number(entry.tokens_per_s_user)},
                    {"usd_per_mtoken", number(entry.usd_per_mtoken)},
                    {"source", entry.source}});
  }
  return json;
}

void PrintInputs(const chip::Inputs& inputs) {
  for (const chip::Quantity& quantity : inputs.quantities) {
    fmt::print("{:<30} {:>10} ({} - {}) {}{}\n", quantity.name, ShortNumber(quantity.value),
               ShortNumber(quantity.low), ShortNumber(quantity.high),
               quantity.unit == "1" ? "" : quantity.unit, quantity.assumed ? ", assumed" : "");
    fmt::print("    {}\n", quantity.source);
  }
}

void PrintSweep(const std::vector<chip::SweepPoint>& points) {
  fmt::print("{:>10} {:>7} {:>10} {:>14} {:>14} {:>8}\n", "lanes", "layers", "mm2", "tokens/s user",
             "tokens/s all", "card W");
  for (const chip::SweepPoint& point : points) {
    fmt::print("{:>10} {:>7} {:>10} {:>14} {:>14} {:>8}{}\n", point.lanes, point.stages,
               ShortNumber(point.area_mm2), ShortNumber(point.tokens_per_s_user),
               ShortNumber(point.tokens_per_s_total), ShortNumber(point.card_w),
               point.best ? " *" : "");
  }
  fmt::print("* within the reticle, and no other has less area and more tokens/s of all users\n");
}

void PrintPair(const chip::Model& left, const chip::Estimate& left_estimate,
               const chip::Model& right, const chip::Estimate& right_estimate) {
  fmt::print("{:<52} {:>18} {:>18} {:>7}\n", "figure", left.design().name, right.design().name,
             "ratio");
  for (size_t index = 0; index < chip::Metrics().size(); ++index) {
    const chip::MetricInfo& info = chip::Metrics()[index];
    const double first = left_estimate.metrics[index].value;
    const double second = right_estimate.metrics[index].value;
    fmt::print("{:<52} {:>18} {:>18} {:>7}\n", info.title, WithUnit(first, info.unit),
               WithUnit(second, info.unit),
               first > 0.0 ? fmt::format("{:.2f}", second / first) : "");
  }
}

void PrintPublished(const std::vector<chip::Comparison>& comparisons) {
  fmt::print("{:<34} {:<18} {:>10} {:>21} {:>10} {:>6}\n", "chip", "figure", "predicted", "range",
             "published", "ratio");
  for (const chip::Comparison& one : comparisons) {
    fmt::print("{:<34} {:<18} {:>10} {:>21} {:>10} {:>6.2f}{}\n", one.chip, one.metric,
               ShortNumber(one.predicted), ShortNumber(one.low) + " - " + ShortNumber(one.high),
               ShortNumber(one.published), one.ratio(),
               (one.standing.empty() ? "" : "  [" + one.standing + "]") +
                   (one.is_miss() ? "  " + one.explanation : ""));
  }
}

Json EstimateJson(const chip::Model& model, const chip::Inputs& inputs,
                  const chip::Estimate& estimate, const chip::CapacityStudy& capacity) {
  const chip::Design& design = model.design();
  Json json = {{"name", design.name},
               {"title", design.title},
               {"model", design.model},
               {"technology", inputs.technology.name}};
  for (size_t index = 0; index < chip::Metrics().size(); ++index) {
    const chip::MetricInfo& info = chip::Metrics()[index];
    const chip::Ranged& ranged = estimate.metrics[index];
    Json most = Json::array();
    for (const chip::Influence& influence : ranged.influences) {
      most.push_back({{"input", influence.quantity},
                      {"at_low", influence.at_low},
                      {"at_high", influence.at_high}});
    }
    json[std::string(info.name)] = {{"value", ranged.value},
                                    {"low", ranged.low},
                                    {"high", ranged.high},
                                    {"unit", info.unit},
                                    {"most", std::move(most)}};
  }
  Json blocks = Json::array();
  for (const chip::Block& block : estimate.blocks) {
    blocks.push_back({{"name", block.name},
                      {"kind", chip::KindName(block.kind)},
                      {"area_mm2", block.area_mm2},
                      {"transistors", block.transistors},
                      {"energy_nj", block.energy_nj},
                      {"leakage_w", block.leakage_w}});
  }
  json["blocks"] = std::move(blocks);
  json["counts"] = CountsJson(model.counts());
  json["choices"] = ChoicesJson(design);
  json["use"] = UseJson(design.use);
  // What the simulated pipeline takes for the whole use, from its start to its last token.
  json["run_cycles"] = model.RunUse(inputs.Nominal()).cycles;
  json["capacity"] = design.cache.on_chip ? CapacityJson(capacity) : Json(nullptr);
  Json assumptions = Json::object();
  for (const chip::Assumption& one : design.assumptions) {
    assumptions[one.what] = one.why;
  }
  json["assumptions"] = std::move(assumptions);
  json["inputs"] = InputsJson(inputs);
  return json;
}

Json SweepJson(const std::vector<chip::SweepPoint>& points) {
  Json json = Json::array();
  for (const chip::SweepPoint& point : points) {
    json.push_back({{"lanes", point.lanes},
                    {"layers_in_flight", point.stages},
                    {"area_mm2", point.area_mm2},
                    {"tokens_per_s_user", point.tokens_per_s_user},
                    {"tokens_per_s_total", point.tokens_per_s_total},
                    {"card_w", point.card_w},
                    {"fits", point.fits},
                    {"best", point.best}});
  }
  return json;
}

Json PublishedJson(const std::vector<chip::Comparison>& comparisons) {
  Json json = Json::array();
  for (const chip::Comparison& one : comparisons) {
    json.push_back({{"chip", one.chip},
                    {"metric", one.metric},
                    {"predicted", one.predicted},
                    {"low", one.low},
                    {"high", one.high},
                    {"published", one.published},
                    {"ratio", one.ratio()},
                    {"source", one.source},
                    {"note", one.note},
                    {"explanation", one.explanation},
                    {"standing", one.standing}});
  }
  return json;
}

}  // namespace etch::cli
