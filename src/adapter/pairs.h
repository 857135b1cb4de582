#pragma once

// What PEFT and GGUF readers share: halves of pairs as they lie in a file, joined into checked
// pairs. Also the readers themselves over bytes in memory, which the fuzz target drives.

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "adapter/adapter.h"
#include "base/bytes.h"
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

// The scaling of the layer whose A is given; checks the rank where the format states it.
using ScalingOf = std::function<Result<double>(const Half& a)>;

// Joins halves into pairs sorted by layer, then role, decoded. kMalformed naming the tensor when a
// half is missing or comes twice, the ranks of A and B differ, or a value is NaN or infinite;
// kUnsupported for a type of tensor that adapters do not come in; kMismatch as ValidateFor. Shapes
// are checked before anything is decoded. Rows of B stay in the order of the file.
Result<std::vector<LoraPair>> JoinHalves(std::vector<Half> halves, const model::Config& config,
                                         const ScalingOf& scaling);

// kInvalidArgument for an adapter that no reader makes: unsorted pairs, sizes that disagree, values
// that are not finite; otherwise ValidateFor.
Status CheckComplete(const Adapter& adapter, const model::Config& config);

// "3" of "layers.3.": a layer's number without sign or leading zeros, at most three digits; takes
// the digits off `text`. Negative when there is none.
int64_t TakeLayer(std::string_view& text);

// b with its rows moved to Etch's order (to_etch) or Hugging Face's; a copy for wq and wk, and an
// unchanged one for the others.
std::vector<float> ReorderRows(const LoraPair& pair, int64_t head_dim, bool to_etch);

// The content of adapter_config.json and adapter_model.safetensors.
Result<Adapter> ParsePeft(std::string_view config_text, Bytes tensors, const model::Config& config);
// A whole file; errors about its container begin with `what`.
Result<Adapter> ParseGgufLora(Bytes file, std::string_view what, const model::Config& config);

// The files of an adapter. `path` is a directory.
Result<Adapter> ReadPeft(const std::filesystem::path& path, const model::Config& config);

}  // namespace etch::adapter::internal
