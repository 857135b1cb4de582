#include "engine/adapter_weights.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace etch::engine {

const AdapterLinear& AdapterWeights::Linear(int64_t layer, model::Role role) const {
  const auto found = std::find(model::kBlockLinears.begin(), model::kBlockLinears.end(), role);
  ETCH_CHECK(found != model::kBlockLinears.end() && layer < n_layers);
  const auto index = found - model::kBlockLinears.begin();
  return linears[static_cast<size_t>(layer * std::ssize(model::kBlockLinears) + index)];
}

AdapterLinear& AdapterWeights::Linear(int64_t layer, model::Role role) {
  return const_cast<AdapterLinear&>(std::as_const(*this).Linear(layer, role));
}

void AdapterWeights::Reset(const model::Config& config) {
  n_layers = config.n_layers;
  linears.clear();
  linears.resize(static_cast<size_t>(n_layers) * model::kBlockLinears.size());
}

void AdapterWeights::Reserve(const model::Config& config) {
  using model::Role;
  // What shares an input: A of all, then B of all.
  static constexpr std::array<std::pair<size_t, size_t>, 4> kTogether = {
      {{0, 3}, {3, 4}, {4, 6}, {6, 7}}};
  static_assert(model::kBlockLinears == std::array{Role::kWq, Role::kWk, Role::kWv, Role::kWo,
                                                   Role::kGate, Role::kUp, Role::kDown});
  const auto bytes = [](int64_t rows, int64_t cols) {
    return static_cast<size_t>(numerics::WeightBytes(numerics::WeightFormat::kW8, rows, cols));
  };
  for (int64_t layer = 0; layer < n_layers; ++layer) {
    for (const auto& [begin, end] : kTogether) {
      for (const bool is_b : {false, true}) {
        for (size_t index = begin; index < end; ++index) {
          const Role role = model::kBlockLinears[index];
          const auto [rows, cols] = model::TensorShape(config, role);
          AdapterLinear& linear = Linear(layer, role);
          if (linear.rank > 0) {
            (is_b ? linear.b : linear.a)
                .reserve(is_b ? bytes(rows, linear.rank) : bytes(linear.rank, cols));
          }
        }
      }
    }
  }
}

}  // namespace etch::engine
