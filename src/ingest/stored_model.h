#pragma once

// What the file formats have in common: tensors that lie in mapped files, found by role. A format's
// opener fills ModelParts; the SourceModel made of them reads, lists and hashes.

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/error.h"
#include "base/file.h"
#include "formats/data_type.h"
#include "ingest/source_model.h"

namespace etch::ingest {

// One tensor as it lies in a file.
struct StoredTensor {
  std::string name;  // as the format spells it
  formats::DataType type = formats::DataType::kF32;
  std::vector<int64_t> shape;     // slowest first: (rows, cols), or (cols) for a norm
  Bytes data;                     // inside ModelParts::mapped[file]
  size_t file = 0;                // index into ModelParts::mapped
  bool huggingface_rows = false;  // rows in Hugging Face's order: wq and wk (model::InterleavedRow)
  // llama2.c version 2: `data` are signed bytes (type kI8), each `group_size` of them in sequence
  // with a float scale.
  int64_t group_size = 0;
  Bytes scales;
};

// (role, layer); layer 0 for tensors of the whole model.
using TensorKey = std::pair<model::Role, int64_t>;

struct ModelParts {
  model::Config config;
  model::Vocabulary vocabulary;
  std::string format;
  std::string name;
  std::vector<MappedFile> mapped;            // the files with weights
  std::vector<std::filesystem::path> files;  // every file that was read, for the provenance
  std::map<TensorKey, StoredTensor> tensors;
};

// Every key that a model of this configuration has, in order of role and layer. A tied head is left
// out.
std::vector<TensorKey> RequiredTensors(const model::Config& config);

// "model.gguf: tensor "x" at byte 4096".
std::string Where(const ModelParts& parts, const StoredTensor& tensor);

// Checks that the configuration is valid, that all its tensors are there, readable, and of their
// shape, and that the vocabulary fits. A head with the same bytes as the embedding is dropped, and
// the configuration says tied: some formats store it twice.
Result<std::unique_ptr<SourceModel>> MakeStoredModel(ModelParts parts);

}  // namespace etch::ingest
