#pragma once

// What the translation units of the AVX-512 set give to its table (kernels_avx512.cc). Each
// function is documented at its field of KernelSet.

#include "engine/cpu/kernels.h"

namespace etch::engine::avx512 {

void Multiply(const numerics::WeightView& weights, const InputPanel& inputs, int64_t tile_begin,
              int64_t tile_end, int32_t* out, int64_t out_stride);
// KernelSet::multiply_add where `inputs` are A8 and `weights` W8 of at most 32 columns: an
// adapter's B of a rank to 32.
void MultiplyAddGroup(const numerics::WeightView& weights, const InputPanel& inputs,
                      int64_t tile_begin, int64_t tile_end, const AddedTo& to);
inline bool IsOneGroup(const numerics::WeightView& weights, const InputPanel& inputs) {
  return weights.format == numerics::WeightFormat::kW8 && weights.cols <= numerics::kGroup &&
         inputs.format() == numerics::ActivationFormat::kA8;
}
void Attend(const AttendTask& task);
// engine::FinishHead.
void FinishHeadInVectors(const AttendTask& task, int64_t head, uint64_t weight, const int64_t* sums,
                         std::span<const uint8_t> largest_shifts);
// KernelSet::quantize and quantize_products of four blocks or more. They are for any width, but for
// fewer blocks the plain loops take half as long.
void QuantizeWide(const int32_t* values, int64_t column, InputPanel& panel);
void QuantizeWide(const int64_t* products, int64_t column, InputPanel& panel);
inline bool IsWide(const InputPanel& panel) { return panel.groups() >= 4; }
void Norm(std::span<const int32_t> x, std::span<const numerics::Gain16> gains, uint64_t epsilon,
          const numerics::FunctionTables& tables, int32_t* y);
void SwiGlu(const int32_t* gate, const int32_t* up, int64_t count,
            const numerics::FunctionTables& tables, int64_t* products);
void Rotate(std::span<const numerics::Rotation> rotations, int32_t* head);
void QuantizeHead(std::span<const int32_t> values, int32_t max_code, int16_t* codes,
                  uint8_t* shifts);

}  // namespace etch::engine::avx512
