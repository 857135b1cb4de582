// The AVX-512 set: Zen 4, Ice Lake and later.

#include "engine/cpu/kernels_avx512.h"

#include <algorithm>
#include <cstddef>

#include "engine/cpu/block_shift-inl.h"
#include "model/config.h"
#include "numerics/fixed_point.h"
#include "numerics/norm.h"
#include "numerics/rope.h"

namespace etch::engine {
namespace avx512 {
namespace {

// What the compiler makes good vectors of.
namespace plain {
#include "engine/cpu/vector_ops-inl.h"
}  // namespace plain

void Quantize(const int32_t* values, int64_t column, InputPanel& panel) {
  if (IsWide(panel)) {
    QuantizeWide(values, column, panel);
  } else {
    plain::Quantize(values, column, panel);
  }
}

void QuantizeProducts(const int64_t* products, int64_t column, InputPanel& panel) {
  if (IsWide(panel)) {
    QuantizeWide(products, column, panel);
  } else {
    plain::QuantizeProducts(products, column, panel);
  }
}

void MultiplyAdd(const numerics::WeightView& weights, const InputPanel& inputs, int64_t tile_begin,
                 int64_t tile_end, const AddedTo& to) {
  if (IsOneGroup(weights, inputs)) {
    MultiplyAddGroup(weights, inputs, tile_begin, tile_end, to);
  } else {
    plain::MultiplyAdd<Multiply>(weights, inputs, tile_begin, tile_end, to);
  }
}

}  // namespace
}  // namespace avx512

const KernelSet kAvx512Kernels = {
    .isa = "avx512",
    .multiply = avx512::Multiply,
    .quantize = avx512::Quantize,
    .quantize_products = avx512::QuantizeProducts,
    .norm = avx512::Norm,
    .swiglu = avx512::SwiGlu,
    .rotate = avx512::Rotate,
    .quantize_head = avx512::QuantizeHead,
    .add = avx512::plain::Add,
    .multiply_add = avx512::MultiplyAdd,
    .attend = avx512::Attend,
};

}  // namespace etch::engine
