#pragma once

// The spine of the compiler, read top to bottom: calibrate, choose formats, quantise a tensor at a
// time, write the image. DESIGN: ingest → quantize → image.

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/progress.h"
#include "ingest/source_model.h"
#include "numerics/weights.h"

namespace etch::compile {

enum class Recipe : uint8_t {
  kDefault,  // W3 with W6 where 3 bits hurt most
  kFloat4,   // W4F everywhere
  kSource,   // original weights, for the float backend only
};

// As the command line has it: "default", "w4f", "source".
std::string_view RecipeName(Recipe recipe);

struct CompileOptions {
  Recipe recipe = Recipe::kDefault;
  std::string name{};                        // model id; empty: from the source
  std::filesystem::path calibration_text{};  // empty: flat importance
  int64_t calibration_tokens = 8192;         // at most so many are used
  // Average bits a weight over all matrices, before row scales and padding. 0: the rule, 4.5 for
  // small models and 3.5 with row scales from one billion weights on (quantize::DefaultBits). Only
  // the default recipe has a choice.
  double bits = 0.0;
  int threads = 0;
};

// What was made of one matrix.
struct TensorReport {
  std::string name;  // "blk.3.ffn_down"
  numerics::WeightFormat format;
  std::string input;  // "A8", "A16"; empty for the embedding
  int64_t rows = 0;
  int64_t cols = 0;
  double error = 0.0;  // relative, weighted by importance
  double bits = 0.0;   // stored bits a weight, padding included
  double share = 0.0;  // of the image's weight bytes
};

struct CompileReport {
  std::vector<TensorReport> tensors;
  double bits_per_weight = 0.0;  // stored bits over all matrices, padding and row scales included
  uint64_t image_bytes = 0;
  int64_t parameters = 0;
  double seconds = 0.0;
};

// Compiles `source` into an image at `out`. Nothing is left behind on failure or when `progress`
// asks for a stop (kCancelled). The same source and options give the same bytes, for any number of
// threads. Memory: the largest tensor in float and packed; with a calibration, one layer in float
// and the residual streams of its tokens.
Result<CompileReport> Compile(ingest::SourceModel& source, const std::filesystem::path& out,
                              const CompileOptions& options, const ProgressFn& progress);

}  // namespace etch::compile
