#pragma once

// What Image::Open checks of the frame around the sections: header, section table, checksums,
// padding, and the directory of matrices. section_codec.h checks what stands inside.

#include <vector>

#include "base/bytes.h"
#include "base/error.h"
#include "image/image.h"
#include "image/layout.h"

namespace etch::image {

struct Frame {
  std::vector<SectionInfo> sections;  // inside the image, in order, without overlap
  uint64_t fingerprint = 0;
};

// Header and section table of an image that fills `image` exactly. kUnsupported for another version
// of the format or of the contract; kMalformed for everything else that is wrong.
Result<Frame> ReadFrame(Bytes image);

// Every section's checksum, and zeros between the sections; reads every byte once, on `threads`
// threads (0: one for each processor). The error names the first damaged section.
Status VerifyContent(Bytes image, const Frame& frame, int threads);

// The sections are those of the model, by name and order.
Status VerifySectionNames(const Frame& frame, const model::Config& config);

// The directory: every matrix of the model exactly once, with its shape, in a format that the image
// may hold, where the layout puts it.
Result<std::vector<TensorInfo>> ReadDirectory(Bytes image, const Frame& frame,
                                              const model::Config& config, bool is_source);

// True for the formats of an integer image (W3, W6, W4F) or of a source image (F32, F16, BF16).
// Images hold no W8: a code of -128 would break the bound on its sums.
bool IsStored(numerics::WeightFormat format, bool is_source);

}  // namespace etch::image
