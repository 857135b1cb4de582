#pragma once

// What PEFT and GGUF readers share: halves of pairs as they lie in a file, joined into checked
// pairs. Also the readers themselves over bytes in memory, which the fuzz target drives.

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "adapter/adapter.h"
#include "base/bytes.h"
#include "base/file.h"
#include "formats/data_type.h"

namespace etch::adapter::internal {

// Ranks above this are refused: no published adapter comes near, and a rank is working memory.
inline constexpr int64_t kMaxRank = 4096;

// A or B of one layer, not yet decoded.
struct Half {
  model::Role role = model::Role::kWq;
  int64_t layer = 0;
  bool is_b = false;
  std::string name;  // in the file
  formats::DataType type = formats::DataType::kF32;
  int64_t rows = 0;
  int64_t cols = 0;
  Bytes data;

  int64_t rank() const { return is_b ? cols : rows; }
};

// A pair that was checked and not yet decoded.
struct PairPlan {
  Half a;
  Half b;
  double scaling = 1.0;
};

// An adapter whose values still lie in its file, which must outlive the plan.
struct AdapterPlan {
  Adapter head;                   // without pairs
  std::vector<PairPlan> pairs;    // sorted by layer, then role
  bool huggingface_rows = false;  // B of wq and wk is in Hugging Face's order
};

// The scaling of the layer whose A is given; checks the rank where the format states it.
using ScalingOf = std::function<Result<double>(const Half& a)>;

// Joins halves into pairs sorted by layer, then role. kMalformed naming the tensor when a half is
// missing or comes twice or the ranks of A and B differ; kUnsupported for a type of tensor that
// adapters do not come in; kMismatch as ValidateFor.
Result<std::vector<PairPlan>> JoinHalves(std::vector<Half> halves, const model::Config& config,
                                         const ScalingOf& scaling);

// The values of one pair of the plan, rows in Etch's order. kMalformed when one is NaN or infinite.
Result<LoraPair> DecodePair(const AdapterPlan& plan, const PairPlan& pair,
                            const model::Config& config);
Result<Adapter> Decode(const AdapterPlan& plan, const model::Config& config);

// The weights of an adapter, lowered pair by pair in any order and by several threads at once.
class Lowering {
 public:
  struct Place {
    model::Role role = model::Role::kWq;
    int64_t layer = 0;
    int64_t rank = 0;
  };
  // `places` are those of all pairs.
  Lowering(std::string name, std::span<const Place> places, const model::Config& config);

  // Lowers the pair of one place. `index` is its place.
  Status Lower(size_t index, const LoraPair& pair, bool keep_floats);
  // The adapter, once all are lowered.
  std::shared_ptr<const engine::AdapterWeights> Finish();

 private:
  struct Lowered {
    size_t linear = 0;                  // of the adapter's
    std::array<uint64_t, 2> hash = {};  // of the W8 parts
  };
  std::shared_ptr<engine::AdapterWeights> weights_;
  std::vector<Lowered> lowered_;
};

// kInvalidArgument for an adapter that no reader makes: unsorted pairs, sizes that disagree, values
// that are not finite; otherwise ValidateFor.
Status CheckComplete(const Adapter& adapter, const model::Config& config);

// "3" of "layers.3.": a layer's number without sign or leading zeros, at most three digits; takes
// the digits off `text`. Negative when there is none.
int64_t TakeLayer(std::string_view& text);

// b with its rows moved to Etch's order (to_etch) or Hugging Face's; a copy for wq and wk, and an
// unchanged one for the others.
std::vector<float> ReorderRows(const LoraPair& pair, int64_t head_dim, bool to_etch);

// The content of adapter_config.json and adapter_model.safetensors; all checks but those of values.
Result<AdapterPlan> PlanPeft(std::string_view config_text, Bytes tensors,
                             const model::Config& config);
Result<AdapterPlan> PlanGgufLora(Bytes file, std::string_view what, const model::Config& config);
// The same, decoded.
Result<Adapter> ParsePeft(std::string_view config_text, Bytes tensors, const model::Config& config);
// A whole file; errors about its container begin with `what`.
Result<Adapter> ParseGgufLora(Bytes file, std::string_view what, const model::Config& config);

// A plan and the file that it points into.
struct OpenAdapter {
  MappedFile file;
  AdapterPlan plan;
};
// The files of an adapter. `path` is a directory. Errors of decoding are for the caller to prefix.
Result<OpenAdapter> OpenPeft(const std::filesystem::path& path, const model::Config& config);
// The rank that the config states, after the checks of GlanceAtAdapter.
Result<int64_t> GlanceAtPeft(const std::filesystem::path& path);

}  // namespace etch::adapter::internal
