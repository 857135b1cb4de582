#pragma once

// The masks of a chip, read back from its files and compared with the image, weight by weight.

#include <cstdint>
#include <filesystem>
#include <string>

#include "base/error.h"
#include "image/image.h"
#include "plan/hardware_plan.h"

namespace etch::rtl {

struct AuditReport {
  int64_t weights = 0;     // compared
  int64_t parameters = 0;  // scales and tables of groups, row scales, gains, table entries
  int64_t wrong = 0;
  std::string first_wrong;  // "blk.2.ffn_down row 3, column 17: level 4, the image's 6"
};

// Reads masks/*.hex beneath `folder` as a simulator does; shares no code with what wrote them but
// the plan's addresses. kMalformed, naming file and line, for what is no memory of the right shape.
Result<AuditReport> AuditMasks(const image::Image& image, const plan::HardwarePlan& plan,
                               const std::filesystem::path& folder);

}  // namespace etch::rtl
