#pragma once

// The seam where instruction sets plug in. A kernel set is a table of functions with the same
// meaning and the same bits as numerics/; one is chosen by name when the engine starts. Each set is
// a translation unit of its own, compiled with its own flags.

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "numerics/activation.h"
#include "numerics/weights.h"

namespace etch::engine {

struct KernelSet {
  std::string_view isa;  // "generic", "avx2" …
  // Rows of tiles [tile_begin, tile_end) against every input: out[input * weights.rows + row] =
  // numerics' y. All inputs have the same format; they may differ in shifts and point.
  void (*multiply_tiles)(const numerics::WeightView& weights,
                         std::span<const numerics::Activation* const> inputs, int64_t tile_begin,
                         int64_t tile_end, int32_t* out);
};

// Every set that this machine can run, the best first. Never empty: "generic" runs everywhere.
const std::vector<const KernelSet*>& AvailableKernels();

// The set called `isa`, or the best for an empty name. kInvalidArgument lists what there is.
Result<const KernelSet*> SelectKernels(std::string_view isa);

extern const KernelSet kGenericKernels;

}  // namespace etch::engine
