#pragma once

// The masks of a chip, read back from its files and compared with the image, weight by weight, and
// with the plan, step by step.

#include <cstdint>
#include <filesystem>
#include <string>

#include "base/error.h"
#include "image/image.h"
#include "plan/hardware_plan.h"

namespace etch::rtl {

struct AuditReport {
  int64_t weights = 0;     // compared
  int64_t parameters = 0;  // scales of groups and rows, gains, tables, constants, fields of steps
  int64_t wrong = 0;
  std::string first_wrong;  // "blk.2.ffn_down row 3, column 17: level 4, the image's 6"
};

// Reads masks/ beneath `folder`, its *.hex as a simulator does; shares no code with what wrote them
// but the plan's addresses. kMalformed, naming file and line or constant, for what is no memory of
// the right shape or no number.
Result<AuditReport> AuditMasks(const image::Image& image, const plan::HardwarePlan& plan,
                               const std::filesystem::path& folder);

}  // namespace etch::rtl
