#pragma once

// What is published of chips that exist or were proposed (data/chip/published.json), and of other
// ways to buy tokens (data/chip/market.json).

#include <optional>
#include <string>
#include <vector>

#include "base/error.h"

namespace etch::chip {

struct PublishedFigure {
  std::string metric;  // a name of Metrics()
  double value = 0.0;
  std::string source;
  std::string note;         // what the source says of it; may be empty
  std::string explanation;  // why the model may differ; may be empty
  // How far it is a prediction: empty, or what of it the model was given ("input", "sets the
  // lanes").
  std::string standing;
};

struct PublishedSystem {
  std::string name;  // of a preset
  std::string title;
  std::vector<PublishedFigure> figures;
};
Result<std::vector<PublishedSystem>> LoadPublished();

struct MarketEntry {
  std::string name;
  std::string model;
  std::optional<double> tokens_per_s_user;
  std::optional<double> usd_per_mtoken;
  std::string source;
};
Result<std::vector<MarketEntry>> LoadMarket();

}  // namespace etch::chip
