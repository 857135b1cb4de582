#include "numerics/rope.h"

#include "base/error.h"
#include "numerics/fixed_point.h"

namespace etch::numerics {

void RotationsAt(std::span<const Rotation> high, std::span<const Rotation> low, int64_t pairs,
                 int64_t position, std::span<Rotation> out) {
  const int64_t high_row = position / kAngleStride * pairs;
  const int64_t low_row = position % kAngleStride * pairs;
  ETCH_DCHECK(static_cast<size_t>(high_row + pairs) <= high.size());
  for (int64_t pair = 0; pair < pairs; ++pair) {
    out[static_cast<size_t>(pair)] = ComposeRotation(high[static_cast<size_t>(high_row + pair)],
                                                     low[static_cast<size_t>(low_row + pair)]);
  }
}

void RotateHead(std::span<const Rotation> rotations, std::span<int32_t> head) {
  for (size_t pair = 0; pair < rotations.size(); ++pair) {
    const auto [cosine, sine] = rotations[pair];
    const int64_t even = head[2 * pair];
    const int64_t odd = head[2 * pair + 1];
    head[2 * pair] = ShiftSaturate32(even * cosine - odd * sine, -kRotationBits);
    head[2 * pair + 1] = ShiftSaturate32(even * sine + odd * cosine, -kRotationBits);
  }
}

}  // namespace etch::numerics
