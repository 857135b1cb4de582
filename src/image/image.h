#pragma once

// An image as the engine sees it: one read-only mapping with everything inference needs.
// docs/format/image.md has the bytes; layout.h the structures; writer.h the other direction.

#include <array>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "model/config.h"
#include "model/tensors.h"
#include "model/vocabulary.h"
#include "numerics/activation.h"
#include "numerics/fixed_point.h"
#include "numerics/tables.h"
#include "numerics/weights.h"

namespace etch::image {

struct TensorInfo {
  model::Role role;
  int64_t layer = 0;  // 0 for tensors of the whole model
  numerics::WeightFormat format;
  model::Shape shape;
  uint64_t offset = 0;  // in the file
  uint64_t size_bytes = 0;
};

// A section as `etch inspect` lists it.
struct SectionInfo {
  std::string name;
  uint64_t offset = 0;
  uint64_t size_bytes = 0;
  uint64_t xxh3 = 0;
};

// Immutable, move-only, safe to read from any thread. Spans and views point into the mapping (or
// into memory that the image owns) and live as long as it.
class Image {
 public:
  // Maps and verifies: header, sections, every checksum, every bound that the contract's proofs
  // rely on. The error names the damaged section. An executable made by --standalone is opened too:
  // the image lies at its end. Reads every byte once, on `threads` threads (0: one for each
  // processor). kUnsupported for another version of the format or of the contract.
  static Result<Image> Open(const std::filesystem::path& path, int threads = 0);
  // The same over an image in memory that someone else owns and that outlives the result; path() is
  // empty. Kernels want `bytes` to begin at a multiple of 64.
  static Result<Image> FromBytes(Bytes bytes, int threads = 1);
  Image(Image&&) noexcept;
  Image& operator=(Image&&) noexcept;
  ~Image();

  const model::Config& config() const;
  const model::Vocabulary& vocabulary() const;
  const std::string& name() const;             // model id, as /v1/models shows it
  const std::string& provenance_json() const;  // source names, hashes, recipe, version
  const std::string& report_json() const;      // per tensor: error, bits, share
  // True for `--recipe source`: original weights that only the float backend runs.
  bool is_source() const;

  // The matrix of a linear layer, the embedding or the head (the embedding's when tied).
  numerics::WeightView Weights(model::Role role, int64_t layer) const;
  // Integer gains of a norm, sqrt(dim) folded in; empty for a source image.
  std::span<const numerics::Gain16> Gains(model::Role role, int64_t layer) const;
  // Gains as the model states them, for the float twin.
  std::span<const float> FloatGains(model::Role role, int64_t layer) const;
  uint64_t norm_epsilon() const;          // numerics::NormEpsilon of the config
  numerics::Scale16 score_scale() const;  // numerics::ScoreScale of the config
  numerics::ActivationFormat InputFormat(model::InputSite site, int64_t layer) const;
  const numerics::FunctionTables& tables() const;
  const numerics::LevelTables& levels() const;
  std::span<const numerics::Rotation> rope_high() const;  // (ceil(context/256), head_dim/2)
  std::span<const numerics::Rotation> rope_low() const;   // (256, head_dim/2)

  const std::vector<TensorInfo>& tensors() const;
  const std::vector<SectionInfo>& sections() const;
  uint64_t size_bytes() const;
  // XXH3-64 over the section table: one number for the whole content.
  uint64_t fingerprint() const;
  const std::filesystem::path& path() const;

 private:
  struct Impl;
  explicit Image(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace etch::image
