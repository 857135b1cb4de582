#pragma once

// What the steps of a compilation share.

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/progress.h"
#include "ingest/source_model.h"
#include "model/tensors.h"

namespace etch::compile {

struct MatrixId {
  model::Role role;
  int64_t layer = 0;
};

// Every matrix of the model in the order of the image: embedding, blocks, head.
std::vector<MatrixId> MatricesOf(const model::Config& config);
// Every norm of the model.
std::vector<MatrixId> NormsOf(const model::Config& config);

// A tensor of the source in float; the error names the tensor.
Status ReadInto(const ingest::SourceModel& source, const MatrixId& id, std::vector<float>& out);

// Counts weights through one phase of the work.
class WeightProgress {
 public:
  WeightProgress(const ProgressFn& progress, const model::Config& config);

  // Reports `phase` and what was done so far; kCancelled when the caller asks for a stop.
  Status Report(std::string_view phase) const;
  void Add(int64_t weights) { done_ += weights; }

 private:
  const ProgressFn& progress_;
  int64_t done_ = 0;
  int64_t total_ = 0;
};

}  // namespace etch::compile
