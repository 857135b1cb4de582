#pragma once

// An image as a GGUF file that stock llama.cpp runs: the dequantised base, or base and adapters
// merged.

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/progress.h"
#include "engine/adapter_weights.h"
#include "export/parity.h"
#include "formats/data_type.h"
#include "image/image.h"

namespace etch::exporting {

struct ExportOptions {
  // kF32, kF16, kBf16 or kQ8_0. Norms are F32; rows that Q8_0 does not fit are F16. F32 holds the
  // dequantised weights exactly; Q8_0 holds unadapted matrices as closely as F16 (EncodeTiledRow).
  formats::DataType type = formats::DataType::kF16;
  std::vector<engine::ActiveAdapter> adapters{};  // merged in, with their weights
  std::string name{};  // general.name; empty: the image's, with those of the adapters
  CheckOptions check{};
};

struct ExportReport {
  Parity parity;
  std::vector<std::string> notes;  // what the file cannot say, a sentence each
  int64_t tensors = 0;
  uint64_t bytes = 0;
  double seconds = 0.0;
};

// Writes `path`, reads it back and compares (CheckModel); it appears under its name only when the
// comparison holds, and nothing is left behind otherwise. The same input gives the same bytes.
// Memory: a chunk of rows while writing, the largest tensor twice in float while comparing.
// kInvalidArgument for another type or for a path that is the image; kUnsupported for values beyond
// the type, naming the tensor, for merges that cannot be written, and for Llama 3 RoPE scaling with
// parameters other than the published ones, which a GGUF file does not hold.
Result<ExportReport> ExportGguf(const image::Image& image, const std::filesystem::path& path,
                                const ExportOptions& options, const ProgressFn& progress);

namespace internal {

// Writes by `write` under a temporary name beside `path`, then `check`, then puts it in place; the
// temporary file is removed whatever fails.
using FileStep = std::function<Status(const std::filesystem::path& file)>;
Status WriteChecked(const std::filesystem::path& path, const FileStep& write,
                    const FileStep& check);

}  // namespace internal

}  // namespace etch::exporting
