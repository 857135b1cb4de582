#pragma once

// What `etch chip` prints: tables on a terminal, or one JSON object.

#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "chip/report.h"

namespace etch::cli {

void PrintEstimate(const chip::Model& model, const chip::Inputs& inputs,
                   const chip::Estimate& estimate, const chip::CapacityStudy& capacity);
void PrintMarket(const std::vector<chip::MarketEntry>& market);
void PrintInputs(const chip::Inputs& inputs);
void PrintSweep(const std::vector<chip::SweepPoint>& points);
// Two designs side by side.
void PrintPair(const chip::Model& left, const chip::Estimate& left_estimate,
               const chip::Model& right, const chip::Estimate& right_estimate);
void PrintPublished(const std::vector<chip::Comparison>& comparisons);

nlohmann::ordered_json EstimateJson(const chip::Model& model, const chip::Inputs& inputs,
                                    const chip::Estimate& estimate,
                                    const chip::CapacityStudy& capacity);
nlohmann::ordered_json MarketJson(const std::vector<chip::MarketEntry>& market);
nlohmann::ordered_json SweepJson(const std::vector<chip::SweepPoint>& points);
nlohmann::ordered_json PublishedJson(const std::vector<chip::Comparison>& comparisons);

}  // namespace etch::cli
