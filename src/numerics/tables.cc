#include "numerics/tables.h"

#include <algorithm>
#include <cmath>

#include "numerics/fixed_point.h"

namespace etch::numerics {
namespace {

int32_t ToFixed(double value, int bits) {
  return static_cast<int32_t>(std::llround(std::ldexp(value, bits)));
}

Rotation AngleEntry(double angle) {
  return {ToFixed(std::cos(angle), kAngleBits), ToFixed(std::sin(angle), kAngleBits)};
}

}  // namespace

FunctionTables BuildFunctionTables() {
  FunctionTables tables;
  for (size_t index = 0; index < tables.exp2.size(); ++index) {
    tables.exp2[index] = ToFixed(std::exp2(-static_cast<double>(index) / 64.0), kExp2Bits);
  }
  for (size_t index = 0; index < tables.sigmoid.size(); ++index) {
    const double x = static_cast<double>(index) / 16.0 - 16.0;
    tables.sigmoid[index] = ToFixed(1.0 / (1.0 + std::exp(-x)), kSigmoidBits);
  }
  tables.sigmoid.front() = 0;
  tables.sigmoid.back() = 1 << kSigmoidBits;
  for (size_t index = 0; index < tables.rsqrt.size(); ++index) {
    const double middle = 1.0 + (static_cast<double>(index) + 0.5) / 64.0;
    tables.rsqrt[index] = ToFixed(1.0 / std::sqrt(middle), kRsqrtBits);
  }
  return tables;
}

Status Validate(const FunctionTables& tables) {
  const bool exp2_ok = tables.exp2.front() == 1 << kExp2Bits && tables.exp2.back() > 0 &&
                       std::is_sorted(tables.exp2.rbegin(), tables.exp2.rend());
  const bool sigmoid_ok = tables.sigmoid.front() == 0 &&
                          tables.sigmoid.back() == 1 << kSigmoidBits &&
                          std::is_sorted(tables.sigmoid.begin(), tables.sigmoid.end());
  const bool rsqrt_ok = tables.rsqrt.front() <= 1 << kRsqrtBits && tables.rsqrt.back() > 1 << 29 &&
                        std::is_sorted(tables.rsqrt.rbegin(), tables.rsqrt.rend());
  if (!exp2_ok || !sigmoid_ok || !rsqrt_ok) {
    return Fail(ErrorCode::kMalformed, "the {} table is not that of numeric contract v1",
                !exp2_ok      ? "exp2"
                : !sigmoid_ok ? "sigmoid"
                              : "reciprocal square root");
  }
  return {};
}

RopeTables BuildRopeTables(const model::Config& config) {
  RopeTables tables;
  tables.pairs = config.head_dim / 2;
  const int64_t high_rows = (config.context + kAngleStride - 1) / kAngleStride;
  for (int64_t row = 0; row < high_rows; ++row) {
    for (int64_t pair = 0; pair < tables.pairs; ++pair) {
      const double frequency = model::RopeFrequency(config, pair);
      tables.high.push_back(AngleEntry(static_cast<double>(row * kAngleStride) * frequency));
    }
  }
  for (int64_t row = 0; row < kAngleStride; ++row) {
    for (int64_t pair = 0; pair < tables.pairs; ++pair) {
      tables.low.push_back(
          AngleEntry(static_cast<double>(row) * model::RopeFrequency(config, pair)));
    }
  }
  return tables;
}

Rotation ComposeRotation(Rotation high, Rotation low) {
  constexpr int kShift = 2 * kAngleBits - kRotationBits;
  const int64_t cosine = int64_t{high.cosine} * low.cosine - int64_t{high.sine} * low.sine;
  const int64_t sine = int64_t{high.sine} * low.cosine + int64_t{high.cosine} * low.sine;
  return {static_cast<int32_t>(RoundShiftRight(cosine, kShift)),
          static_cast<int32_t>(RoundShiftRight(sine, kShift))};
}

}  // namespace etch::numerics
