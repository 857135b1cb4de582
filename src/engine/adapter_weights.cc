#include "engine/adapter_weights.h"

#include <algorithm>

#include "base/error.h"

namespace etch::engine {

const AdapterLinear& AdapterWeights::Linear(int64_t layer, model::Role role) const {
  const auto found = std::find(model::kBlockLinears.begin(), model::kBlockLinears.end(), role);
  ETCH_CHECK(found != model::kBlockLinears.end() && layer < n_layers);
  const auto index = found - model::kBlockLinears.begin();
  return linears[static_cast<size_t>(layer * std::ssize(model::kBlockLinears) + index)];
}

}  // namespace etch::engine
