#pragma once

// RMSNorm in integers: y_i = x_i / sqrt(mean(x²) + eps) · gain_i. docs/numeric-contract.md §7.

#include <cstdint>
#include <span>

#include "numerics/fixed_point.h"
#include "numerics/tables.h"

namespace etch::numerics {

// n · eps with 32 fraction bits: what the sum of squares is raised by.
uint64_t NormEpsilon(double eps, int64_t dim);

// The gain of one channel as the image stores it: the model's gain times sqrt(dim).
Gain16 NormGain(double gain, int64_t dim);

// 1/sqrt(value) = mantissa · 2^-(30 + exponent). value in 1 … 2^61. With the tables of v1 the
// mantissa lies in [2^29 - 2^10, 2^30] and errs by less than 2^-15; with any that Validate()
// passes, within ±2^30.
struct ReciprocalRoot {
  int64_t mantissa = 0;
  int exponent = 0;
};
ReciprocalRoot Rsqrt(uint64_t value, const FunctionTables& tables);

// x: R32, up to 16,384 values. y: I32 with 16 fraction bits; may be the same memory as x.
void RmsNorm(std::span<const int32_t> x, std::span<const Gain16> gains, uint64_t epsilon,
             const FunctionTables& tables, std::span<int32_t> y);

}  // namespace etch::numerics
