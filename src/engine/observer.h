#pragma once

// What the reference backend computes on a token's way, vector after vector in the order of the
// contract (docs/numeric-contract.md §13), for whoever compares another implementation step by
// step.

#include <cstdint>
#include <functional>
#include <span>

namespace etch::engine {

enum class VectorKind : uint8_t {
  kEmbedding,     // the token's row: the residual stream begins
  kNorm,          // a norm's result
  kInput,         // codes and shifts, quantised input of linear layers
  kLinear,        // the base's product of one linear layer
  kAdapterA,      // A · x of an adapter
  kAdapterInner,  // that, quantised
  kAdapterB,      // the linear layer's result with the adapter's part in it
  kRotated,       // queries, then keys, behind RoPE
  kHeads,         // codes and shifts of queries, then keys, then values, head after head
  kAttended,      // the attention's results, head after head
  kResidual,      // the residual stream with what a block adds
  kLogits,
};

// Valid during the call.
struct ObservedVector {
  VectorKind kind = VectorKind::kEmbedding;
  std::span<const int32_t> values;  // of a vector that is quantised, its codes
  std::span<const uint8_t> shifts;  // of a vector that is quantised, one a block
};

using VectorObserver = std::function<void(const ObservedVector&)>;

}  // namespace etch::engine
