#include "numerics/swiglu.h"

#include "numerics/fixed_point.h"

namespace etch::numerics {

int32_t Sigmoid(int32_t x, const FunctionTables& tables) {
  constexpr int32_t kEdge = 16 << kPoint;
  constexpr int kStepBits = 12;  // 512 steps of 1/16
  if (x <= -kEdge) {
    return 0;
  }
  if (x >= kEdge) {
    return 1 << kSigmoidBits;
  }
  const int32_t offset = x + kEdge;
  const auto entry = static_cast<size_t>(offset >> kStepBits);
  const int64_t fraction = offset & ((1 << kStepBits) - 1);
  const int64_t step = tables.sigmoid[entry + 1] - tables.sigmoid[entry];
  return tables.sigmoid[entry] + static_cast<int32_t>(RoundShiftRight(step * fraction, kStepBits));
}

int64_t SwiGlu(int32_t gate, int32_t up, const FunctionTables& tables) {
  const int64_t activated = RoundShiftRight(int64_t{gate} * Sigmoid(gate, tables), kSigmoidBits);
  return activated * up;
}

}  // namespace etch::numerics
