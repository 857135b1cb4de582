// The AVX2 set: Haswell, Zen 1 and later. Nothing but AVX2 is asked of the processor.

#include "engine/cpu/kernels_avx2.h"

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "engine/cpu/block_shift-inl.h"
#include "model/config.h"
#include "numerics/fixed_point.h"
#include "numerics/norm.h"
#include "numerics/rope.h"

namespace etch::engine {
namespace avx2 {
namespace {
#include "engine/cpu/vector_ops-inl.h"
}  // namespace
}  // namespace avx2

const KernelSet kAvx2Kernels = {
    .isa = "avx2",
    .multiply = avx2::Multiply,
    .quantize = avx2::Quantize,
    .quantize_products = avx2::QuantizeProducts,
    .norm = avx2::Norm,
    .swiglu = avx2::SwiGlu,
    .rotate = avx2::Rotate,
    .quantize_head = avx2::QuantizeHead,
    .add = avx2::Add,
    .multiply_add = avx2::MultiplyAdd<avx2::Multiply>,
    .attend = avx2::Attend,
};

}  // namespace etch::engine
