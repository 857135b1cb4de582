#pragma once

// What a calibration text tells about the inputs of the linear layers: the importance of each
// channel, and what 8-bit activations would cost. The model is run layer by layer in float, one
// layer's weights in memory at a time.

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/error.h"
#include "base/progress.h"
#include "base/thread_pool.h"
#include "model/config.h"
#include "model/tensors.h"

namespace etch::quantize {

// Reads one tensor of the source model into floats (see ingest::SourceModel::Read).
using ReadTensor = std::function<Status(model::Role role, int64_t layer, std::span<float> out)>;

// Statistics of one input site (model::InputSite); the head's is `Calibration::head`.
struct SiteStatistics {
  std::vector<float> importance;  // mean square of each channel
  // Error of the layer's output that rounding the input to A8 (A16) causes, relative to the
  // output's energy; averaged over the linear layers that read the site.
  double a8_error = 0.0;
  double a16_error = 0.0;
};

struct Calibration {
  int64_t tokens = 0;
  std::vector<SiteStatistics> sites;  // index layer * 4 + site
  SiteStatistics head;
};

// Runs the float twin over `sequences` of token ids (each at most config.context long).
Result<Calibration> Calibrate(const model::Config& config, const ReadTensor& read,
                              std::span<const std::vector<int32_t>> sequences, ThreadPool& pool,
                              const ProgressFn& progress);

}  // namespace etch::quantize
