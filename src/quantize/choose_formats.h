#pragma once

// Which matrices get six bits and which inputs sixteen: two rules on measured errors. The figures
// behind them are in docs/rationale/quantize.md.

#include <cstdint>
#include <span>
#include <vector>

#include "model/config.h"
#include "model/tensors.h"
#include "numerics/activation.h"
#include "numerics/weights.h"
#include "quantize/calibration.h"

namespace etch::quantize {

// Relative errors of one matrix in both formats (EstimateError).
struct MatrixEstimate {
  model::Role role;
  int64_t layer = 0;
  model::Shape shape;
  double w3_error = 0.0;
  double w6_error = 0.0;
};

// Bits a weight with their group's parameters, without row scales and padding.
inline constexpr double kW3Bits = 3.0 + 6.0 / 32.0;
inline constexpr double kW6Bits = 6.0 + 6.0 / 32.0;
inline constexpr double kW4FBits = 4.0 + 4.0 / 32.0;

// Average bits a weight when nothing else is asked for: 4.5 for small models, which 3 bits hurt
// more, and from one billion matrix weights on what with row scales is 3.5 stored.
double DefaultBits(int64_t matrix_weights);

// The format of every matrix, in the order of `matrices`: W3, and W6 where the error that it
// removes, weighted by the sensitivity of the role, is greatest per added bit, as long as the
// average stays at or under `bits`.
std::vector<numerics::WeightFormat> ChooseWeightFormats(const model::Config& config,
                                                        std::span<const MatrixEstimate> matrices,
                                                        double bits);

// The format of every input: index layer * 4 + site, then the head. A16 where rounding to A8 costs
// more than a twenty-fifth of what three bits cost in the layers that read the input; without a
// calibration (nullptr) A16 for the inputs of `down` and A8 elsewhere.
std::vector<numerics::ActivationFormat> ChooseInputFormats(
    const model::Config& config, const Calibration* calibration,
    std::span<const MatrixEstimate> matrices);

}  // namespace etch::quantize
