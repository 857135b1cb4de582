#include "engine/cpu/kernels.h"

namespace etch::engine {

const std::vector<const KernelSet*>& AvailableKernels() {
  static const std::vector<const KernelSet*> sets = {&kGenericKernels};
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
