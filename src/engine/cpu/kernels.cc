#include "engine/cpu/kernels.h"

namespace etch::engine {

int32_t* ThreadProducts(int64_t count) {
  thread_local AlignedBuffer memory;
  return memory.As<int32_t>(count);
}

const std::vector<const KernelSet*>& AvailableKernels() {
  static const std::vector<const KernelSet*> sets = [] {
    std::vector<const KernelSet*> found;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vnni")) {
      found.push_back(&kAvx512Kernels);
    }
    if (__builtin_cpu_supports("avx2")) {
      found.push_back(&kAvx2Kernels);
    }
#endif
    found.push_back(&kGenericKernels);
    return found;
  }();
  return sets;
}

Result<const KernelSet*> SelectKernels(std::string_view isa) {
  std::string known;
  for (const KernelSet* set : AvailableKernels()) {
    if (isa.empty() || isa == set->isa) {
      return set;
    }
    known += known.empty() ? "" : ", ";
    known += set->isa;
  }
  return Fail(ErrorCode::kInvalidArgument, "no instruction set \"{}\" here; there are {}", isa,
              known);
}

}  // namespace etch::engine
