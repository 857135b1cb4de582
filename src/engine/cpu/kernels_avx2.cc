// The AVX2 set: Haswell, Zen 1 and later. Nothing but AVX2 is asked of the processor.

#include "engine/cpu/kernels_avx2.h"

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "model/config.h"
#include "numerics/fixed_point.h"
#include "numerics/norm.h"

namespace etch::engine {
namespace avx2 {
namespace {
#include "engine/cpu/vector_ops-inl.h"
}  // namespace
}  // namespace avx2

const KernelSet kAvx2Kernels = {
    "avx2",      avx2::Multiply, avx2::Quantize, avx2::QuantizeProducts,
    avx2::Norm,  avx2::SwiGlu,   avx2::Add,      avx2::MultiplyAdd<avx2::Multiply>,
    avx2::Attend};

}  // namespace etch::engine
