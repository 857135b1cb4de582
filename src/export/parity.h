#pragma once

// The check after an export: the file is read back and must compute what Etch computes.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "adapter/adapter.h"
#include "base/error.h"
#include "base/progress.h"
#include "base/thread_pool.h"
#include "export/merged_weights.h"
#include "formats/data_type.h"
#include "ingest/source_model.h"

namespace etch::exporting {

struct CheckOptions {
  int64_t positions = 64;  // tokens of the sequence that is compared; at most the model's context
  int threads = 0;
};

// How two sets of logits over one sequence compare.
struct Parity {
  int64_t positions = 0;
  double max_difference = 0.0;  // max |Δlogit| over all positions and tokens
  double bound = 0.0;           // what it may be
  int64_t same_top = 0;         // positions where the same token comes first
  double max_rounding = 0.0;    // max |Δweight|; 0 when the file holds every weight exactly
};
// "64 positions, max |Δlogit| 0.0012 (bound 0.0051), top-1 64/64".
std::string ParityText(const Parity& parity);

// Compares the file that was written from `expected` in `type` with base and adapters in the float
// twin. kMismatch, naming the place, when the configuration differs, when a weight is further from
// the expected one than the type's rounding allows (RoundingBounds), or when a logit is further off
// than the bound.
//
// The bound is measured, not guessed: the same sequence is run over weights with the very rounding
// errors of this file under random signs. How far that is from the file says how far errors of this
// size move this model's logits; some four times their share, and what float sums in another order
// do (FloatNoise), is allowed.
Result<Parity> CheckModel(const MergedWeights& expected,
                          std::span<const engine::ActiveAdapter> adapters, formats::DataType type,
                          const ingest::SourceModel& file, const CheckOptions& options,
                          const ProgressFn& progress);

// Compares an adapter as it was read back with the one that was written: A bit for bit, B times its
// scaling to the last bit of a float (max_rounding says whether it is exact), and the logits of the
// float twin.
Result<Parity> CheckAdapter(const image::Image& image, const adapter::Adapter& written,
                            const adapter::Adapter& found, const CheckOptions& options,
                            const ProgressFn& progress);

// A sentence for each thing that `found` does otherwise than `expected` on texts with digits,
// contractions, white space, other scripts and special tokens; empty when all become the same ids.
std::vector<std::string> TokenizerDifferences(const model::Vocabulary& expected,
                                              const model::Vocabulary& found);

// How far the logits of two float evaluations in another order may be apart, for logits of at most
// `largest`.
double FloatNoise(const model::Config& config, double largest);

}  // namespace etch::exporting
