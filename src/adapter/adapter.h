#pragma once

// LoRA adapters as files: PEFT directories and GGUF, read, checked, written, and lowered onto an
// image. Untrusted input: pickles, DoRA and full weights are refused by name.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "engine/adapter_weights.h"
#include "model/config.h"
#include "model/tensors.h"

namespace etch::adapter {

// A and B of one adapted linear layer, as trained. Rows of B for wq and wk are in Etch's order.
struct LoraPair {
  model::Role role = model::Role::kWq;
  int64_t layer = 0;
  int64_t rank = 0;
  double scaling = 1.0;  // alpha/rank, or alpha/sqrt(rank) with rsLoRA; alpha_pattern applied
  std::vector<float> a;  // (rank, cols)
  std::vector<float> b;  // (rows, rank)
  // Shapes as the file has them; ValidateFor compares them with the model's.
  int64_t cols = 0;
  int64_t rows = 0;
  std::string a_name;  // tensor names in the file, for errors
  std::string b_name;
};

struct Adapter {
  std::string name;             // file or folder name without extension
  std::string format;           // "PEFT", "GGUF"
  std::string base_model;       // what the file says its base is; may be empty
  std::vector<LoraPair> pairs;  // sorted by layer, then role
};

// Opens a PEFT directory or a .gguf adapter. The q/k row order of a PEFT file depends on the head
// size of its base, so `config` is the model that it will be used with; shapes that do not fit are
// kMismatch and name the first tensor.
Result<Adapter> ReadAdapter(const std::filesystem::path& path, const model::Config& config);

// Writes PEFT (a directory: adapter_config.json, adapter_model.safetensors; atomically, in the
// place of an adapter that is there, but never of a folder that holds anything else) or GGUF (one
// file). Both carry every pair exactly; different ranks and scalings become rank_pattern and
// alpha_pattern, in GGUF they are folded into B.
Status WritePeft(const Adapter& adapter, const model::Config& config,
                 const std::filesystem::path& path);
Status WriteGguf(const Adapter& adapter, const model::Config& config,
                 const std::filesystem::path& path);

// kMismatch naming the first tensor that does not fit the model.
Status ValidateFor(const Adapter& adapter, const model::Config& config);

// Lowers onto a model once: W8 for the integer backends, with magnitudes balanced between A and B
// by powers of two, and float for the twin. Deterministic.
Result<std::shared_ptr<const engine::AdapterWeights>> Lower(const Adapter& adapter,
                                                            const model::Config& config);

struct LoadOptions {
  bool keep_floats = true;  // what only the twin and the exports read: four times the W8 parts
  int threads = 1;          // 0: one for each processor
};

// What ReadAdapter and Lower make, without an adapter in floats between them.
Result<std::shared_ptr<const engine::AdapterWeights>> LoadAdapter(const std::filesystem::path& path,
                                                                  const model::Config& config,
                                                                  const LoadOptions& options = {});

// What is known of an adapter without reading its weights.
struct AdapterSummary {
  std::string format;      // "PEFT", "GGUF"
  int64_t rank = 0;        // the largest of its pairs
  int64_t size_bytes = 0;  // AdapterWeights::size_bytes, once it is lowered
};

// All of ReadAdapter's checks but those of values: reads headers only, some 0.1 ms for an adapter.
Result<AdapterSummary> InspectAdapter(const std::filesystem::path& path,
                                      const model::Config& config);

// A first look that is cheap enough for thousands of adapters at start: the config of a PEFT
// directory is read (kUnsupported for DoRA and the like) and the file of tensors is there and of a
// possible size; a GGUF file begins as such. Returns the rank where the config states it, else 0.
Result<int64_t> GlanceAtAdapter(const std::filesystem::path& path);

// "PATH" or "PATH=WEIGHT" of the command line.
struct AdapterArgument {
  std::filesystem::path path;
  double weight = 1.0;
};
Result<AdapterArgument> ParseAdapterArgument(std::string_view text);

// A weight as sessions take it. kInvalidArgument outside of -16 to 16.
Result<int32_t> ToWeightQ16(double weight);

}  // namespace etch::adapter
