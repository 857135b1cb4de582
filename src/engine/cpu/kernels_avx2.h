#pragma once

// What the translation units of the AVX2 set give to its table (kernels_avx2.cc). Each function is
// documented at its field of KernelSet.

#include "engine/cpu/kernels.h"

namespace etch::engine::avx2 {

void Multiply(const numerics::WeightView& weights, const InputPanel& inputs, int64_t tile_begin,
              int64_t tile_end, int32_t* out, int64_t out_stride);
void Attend(const AttendTask& task);

}  // namespace etch::engine::avx2
