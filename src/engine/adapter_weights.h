#pragma once

// An adapter as the engine runs it: A and B of each adapted linear layer, lowered to W8 for the
// integer backends and kept in float for the twin. Made by adapter/, immutable, shared by sessions.

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/huge_page_arena.h"
#include "model/config.h"
#include "model/tensors.h"
#include "numerics/weights.h"

namespace etch::engine {

using StreamedBytes = std::vector<std::byte, HugePageAllocator<std::byte>>;

// y += B · (A · x) of one linear layer. What a pass asks of it is one cache line.
struct alignas(64) AdapterLinear {
  int64_t rank = 0;            // 0: this layer is not adapted
  StreamedBytes a;             // W8 (rank, cols)
  StreamedBytes b;             // W8 (rows, rank), scaling folded in
  std::vector<float> a_float;  // (rank, cols)
  std::vector<float> b_float;  // (rows, rank), scaling folded in; rows in Etch's order

  numerics::WeightView ViewA(int64_t cols) const {
    return {numerics::WeightFormat::kW8, rank, cols, a.data(), nullptr};
  }
  numerics::WeightView ViewB(int64_t rows) const {
    return {numerics::WeightFormat::kW8, rows, rank, b.data(), nullptr};
  }
  // Of the rank padded to whole groups, as the contract has it.
  int64_t padded_rank() const { return numerics::GroupCount(rank) * numerics::kGroup; }
};

struct AdapterWeights {
  std::string name;
  int64_t n_layers = 0;
  std::vector<AdapterLinear> linears;  // index layer * 7 + position in model::kBlockLinears
  uint64_t size_bytes = 0;             // of the W8 parts: what the adapter takes of the SRAM budget
  // A hash of the W8 parts: adapters that compute the same have the same. Zero when unknown.
  std::array<uint64_t, 2> identity = {};

  // `role` is one of model::kBlockLinears.
  const AdapterLinear& Linear(int64_t layer, model::Role role) const;
  AdapterLinear& Linear(int64_t layer, model::Role role);

  // Makes the linear layers, all without rank, and sets n_layers.
  void Reset(const model::Config& config);
  // Reserves A and B of every layer that has a rank, in the order in which a pass reads them, so
  // that they lie one after the other.
  void Reserve(const model::Config& config);
};

// An adapter in use by a session. Shared, because an adapter may be unloaded from the registry
// while sessions run it.
struct ActiveAdapter {
  std::shared_ptr<const AdapterWeights> weights;
  int32_t weight_q16 = 1 << 16;  // 16 fraction bits; 65536 is 1.0
};

}  // namespace etch::engine
