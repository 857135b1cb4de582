#pragma once

// The mask story: what it takes from an image to an audited mask set, and what changes when the
// same fabric gets other weights.

#include <optional>
#include <string>

#include "base/error.h"
#include "plan/hardware_plan.h"

namespace etch::cli {

struct MaskSet {
  std::string fabric_sha256;
  int64_t fabric_files = 0;
  int64_t mask_files = 0;
  int64_t mask_bits = 0;  // in ROM, as the plan counts them
  int64_t audited_weights = 0;
  int64_t audited_wrong = 0;
  double write_s = 0.0;  // image to mask set
  double audit_s = 0.0;  // mask set read back and compared with the image
};

struct MaskChange {
  bool same_fabric = false;   // byte for byte
  int64_t files_changed = 0;  // of the mask set; those of the fabric are the same
  int64_t bits_compared = 0;  // of the files, as hexadecimal digits hold them
  int64_t bits_changed = 0;
};

struct MaskStory {
  MaskSet set;
  std::optional<MaskChange> change;
};
// Writes the chip of `image` (and of `other`, if it is named) into temporary folders and audits
// them. kMismatch when the two are not of one shape.
Result<MaskStory> TellMasks(const std::string& image, const std::string& other,
                            const plan::Choices& choices);

}  // namespace etch::cli
