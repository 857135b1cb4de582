#pragma once

// Adapters for measuring: rank 16 on every linear layer, seeded random codes. They cost what any
// rank-16 adapter costs and teach the model nothing.

#include <cstdint>
#include <memory>

#include "engine/adapter_weights.h"
#include "model/config.h"

namespace etch::cli {

inline constexpr int64_t kRandomAdapterRank = 16;

// W8 bytes of one such adapter.
uint64_t RandomAdapterBytes(const model::Config& config);

// `with_floats`: also the float parts, which only the float backend reads and which are four times
// as large.
std::shared_ptr<const engine::AdapterWeights> MakeRandomAdapter(const model::Config& config,
                                                                uint64_t seed, bool with_floats);

}  // namespace etch::cli
