#include "compile/work.h"

namespace etch::compile {

using model::Role;

std::vector<MatrixId> MatricesOf(const model::Config& config) {
  std::vector<MatrixId> matrices = {{Role::kTokenEmbedding, 0}};
  for (int64_t layer = 0; layer < config.n_layers; ++layer) {
    for (const Role role : model::kBlockLinears) {
      matrices.push_back({role, layer});
    }
  }
  if (!config.tied_embeddings) {
    matrices.push_back({Role::kHead, 0});
  }
  return matrices;
}

std::vector<MatrixId> NormsOf(const model::Config& config) {
  std::vector<MatrixId> norms;
  for (int64_t layer = 0; layer < config.n_layers; ++layer) {
    norms.push_back({Role::kAttentionNorm, layer});
    norms.push_back({Role::kFfnNorm, layer});
  }
  norms.push_back({Role::kFinalNorm, 0});
  return norms;
}

Status ReadInto(const ingest::SourceModel& source, const MatrixId& id, std::vector<float>& out) {
  out.resize(static_cast<size_t>(model::TensorShape(source.config(), id.role).size()));
  return source.Read(id.role, id.layer, out);
}

WeightProgress::WeightProgress(const ProgressFn& progress, const model::Config& config)
    : progress_(progress) {
  for (const MatrixId& id : MatricesOf(config)) {
    total_ += model::TensorShape(config, id.role).size();
  }
}

Status WeightProgress::Report(std::string_view phase) const {
  if (progress_ && !progress_({phase, done_, total_, "weights"})) {
    return Fail(ErrorCode::kCancelled, "interrupted while {}", phase);
  }
  return {};
}

}  // namespace etch::compile
