#pragma once

// A model as its makers published it, whatever the format: configuration, tokenizer, and tensors by
// role. Tensors are read one at a time, so a model larger than memory can be compiled.

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "model/config.h"
#include "model/tensors.h"
#include "model/vocabulary.h"

namespace etch::ingest {

// A file that the model was read from, for the provenance in the image.
struct SourceFile {
  std::string name;  // without its folder
  uint64_t size_bytes = 0;
  uint64_t xxh3 = 0;  // XXH3-64 of the content; 0 until HashFiles() was called
};

// What an inspection shows of one tensor before it is read.
struct SourceTensor {
  std::string name;    // as the format spells it
  std::string format;  // "F32", "BF16", "Q4_K" …
  std::vector<int64_t> shape;
  uint64_t size_bytes = 0;
};

// The seam of the formats. Read() is the only expensive call; implementations map their files.
class SourceModel {
 public:
  virtual ~SourceModel() = default;

  const model::Config& config() const { return config_; }
  const model::Vocabulary& vocabulary() const { return vocabulary_; }
  const std::vector<SourceFile>& files() const { return files_; }
  std::string_view format() const {
    return format_;
  }  // "safetensors", "GGUF v3", "llama2.c v1", "synthetic"
  const std::string& name() const { return name_; }  // "Llama 3.1 8B Instruct", or the file's name
  virtual std::vector<SourceTensor> Tensors() const = 0;

  // Reads a tensor into `out` (TensorShape(config(), role) values, row by row), dequantised to
  // float. wq and wk come in Etch's row order (see model::InterleavedRow). kMalformed when a value
  // is NaN or infinite; the error names the tensor.
  virtual Status Read(model::Role role, int64_t layer, std::span<float> out) const = 0;

  // Fills xxh3 of every file. Reads all bytes.
  virtual Status HashFiles() = 0;

 protected:
  model::Config config_;
  model::Vocabulary vocabulary_;
  std::vector<SourceFile> files_;
  std::string format_;
  std::string name_;
};

// Opens a model: a directory (Hugging Face), a .gguf, or a llama2.c .bin (legacy, v1, v2; its
// tokenizer.bin or tok512.bin is found beside it, or given as `tokenizer`). Checks that every
// tensor is there with the right shape.
Result<std::unique_ptr<SourceModel>> OpenModel(const std::filesystem::path& path,
                                               const std::filesystem::path& tokenizer = {});

// Seeded random weights in the shape of `config`: every value depends only on (seed, role, layer,
// index), so tensors come in any order. With a vocabulary of single bytes and numbered tokens.
std::unique_ptr<SourceModel> MakeSyntheticModel(const model::Config& config, uint64_t seed,
                                                std::string name);

}  // namespace etch::ingest
