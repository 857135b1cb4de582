// LoRA adapters as llama.cpp keeps them (llama.cpp convert_lora_to_gguf.py, src/llama-adapter.cpp):
//
//   general.type = "adapter"   general.architecture = "llama"   adapter.type = "lora"
//   adapter.lora.alpha         f32; 0 or absent: scale 1, otherwise alpha / rank
//   blk.3.attn_q.weight.lora_a   dims (in, r)
//   blk.3.attn_q.weight.lora_b   dims (r, out), rows of q and k in GGUF's order, which is Etch's
//
// The format has one alpha for the whole file and no rsLoRA. A writer that has several scalings
// therefore writes alpha 0 and multiplies them into B. llama.cpp passes over tensors named
// "_norm.weight"; here they are refused, since an adapter that is applied in part is another
// adapter.

#include <algorithm>
#include <cmath>

#include "adapter/adapter.h"
#include "adapter/pairs.h"
#include "formats/dequantize.h"
#include "formats/gguf.h"

namespace etch::adapter {
namespace {

using formats::GgufMetadata;
using formats::GgufTensor;
using internal::Half;

constexpr std::string_view kAlphaKey = "adapter.lora.alpha";
constexpr std::string_view kTokensKey = "adapter.alora.invocation_tokens";
constexpr std::string_view kSuffixA = ".weight.lora_a";
constexpr std::string_view kSuffixB = ".weight.lora_b";

// kUnsupported unless `key` says `expected`; absence is kMalformed.
Status Expect(const GgufMetadata& metadata, std::string_view key, std::string_view expected,
              std::string_view meaning) {
  ETCH_ASSIGN_OR_RETURN(const auto value, metadata.String(key));
  if (!value) {
    return Fail(ErrorCode::kMalformed, "{} is missing: {}", key, meaning);
  }
  if (*value != expected) {
    return Fail(ErrorCode::kUnsupported, "{} is \"{}\" instead of \"{}\": {}", key, *value,
                expected, meaning);
  }
  return {};
}

Status CheckMetadata(const GgufMetadata& metadata) {
  ETCH_TRY(Expect(metadata, "general.type", "adapter", "this is a model, not an adapter"));
  ETCH_TRY(Expect(metadata, "adapter.type", "lora", "only LoRA adapters are supported"));
  ETCH_TRY(Expect(metadata, "general.architecture", "llama",
                  "only adapters of the Llama family are supported"));
  if (metadata.Find(kTokensKey) != nullptr) {
    return Fail(ErrorCode::kUnsupported, "{}: activated LoRA (aLoRA) is not supported", kTokensKey);
  }
  return {};
}

// Role and layer of "blk.3.attn_q".
Result<std::pair<model::Role, int64_t>> ParseTarget(std::string_view target,
                                                    std::string_view name) {
  if (target == "token_embd" || target == "output") {
    return Fail(ErrorCode::kUnsupported,
                "tensor \"{}\": an adapter of the {} is not supported, only of the seven linear "
                "layers of a block",
                name, target == "output" ? "head" : "embedding");
  }
  std::string_view rest = target;
  if (rest.starts_with("blk.")) {
    rest.remove_prefix(4);
    const int64_t layer = internal::TakeLayer(rest);
    for (const model::Role role : model::kBlockLinears) {
      if (layer >= 0 && target == model::TensorName(role, layer)) {
        return std::pair(role, layer);
      }
    }
  }
  return Fail(ErrorCode::kUnsupported, "tensor \"{}\": the Llama family has no linear layer \"{}\"",
              name, target);
}

Result<Half> ParseHalf(const GgufTensor& tensor, Bytes file) {
  const std::string_view name = tensor.name;
  const bool is_b = name.ends_with(kSuffixB);
  if (name.find("_norm.weight") != std::string_view::npos) {
    return Fail(ErrorCode::kUnsupported, "tensor \"{}\": adapted norms are not supported", name);
  }
  if (!is_b && !name.ends_with(kSuffixA)) {
    return Fail(ErrorCode::kUnsupported, "tensor \"{}\" is no half of a LoRA pair", name);
  }
  Half half;
  ETCH_ASSIGN_OR_RETURN(const auto place,
                        ParseTarget(name.substr(0, name.size() - kSuffixA.size()), name));
  // ggml drops trailing dimensions of extent 1, as A of rank 1 has one.
  if (tensor.dims.empty() || tensor.dims.size() > 2) {
    return Fail(ErrorCode::kMalformed, "tensor \"{}\" has {} dimensions instead of 2", name,
                tensor.dims.size());
  }
  half.role = place.first;
  half.layer = place.second;
  half.is_b = is_b;
  half.name = tensor.name;
  half.type = tensor.type;
  half.cols = tensor.dims[0];
  half.rows = tensor.dims.size() == 2 ? tensor.dims[1] : 1;
  half.data = file.subspan(tensor.offset, tensor.size_bytes);
  return half;
}

Result<internal::AdapterPlan> FromHeader(const formats::GgufHeader& header, Bytes file,
                                         const model::Config& config) {
  const GgufMetadata& metadata = header.metadata;
  ETCH_TRY(CheckMetadata(metadata));
  ETCH_ASSIGN_OR_RETURN(const auto stated_alpha, metadata.Number(kAlphaKey));
  const double alpha = stated_alpha.value_or(0.0);
  if (!std::isfinite(alpha)) {
    return Fail(ErrorCode::kMalformed, "{} is not a finite number", kAlphaKey);
  }
  std::vector<Half> halves;
  for (const GgufTensor& tensor : header.tensors) {
    ETCH_ASSIGN_OR_RETURN(Half half, ParseHalf(tensor, file));
    halves.push_back(std::move(half));
  }
  internal::AdapterPlan plan;
  plan.head.format = "GGUF";
  ETCH_ASSIGN_OR_RETURN(const auto base, metadata.String("general.base_model.0.name"));
  plan.head.base_model = base.value_or("");
  const auto scaling = [alpha](const Half& a) -> Result<double> {
    return alpha == 0.0 ? 1.0 : alpha / static_cast<double>(a.rank());
  };
  ETCH_ASSIGN_OR_RETURN(plan.pairs, internal::JoinHalves(std::move(halves), config, scaling));
  return plan;
}

// The one alpha of all pairs, or 0 when there is none that a float holds.
float CommonAlpha(const Adapter& adapter) {
  constexpr double kSame = 1e-12;  // of alpha: what rounding in alpha / rank * rank can do
  const auto alpha_of = [](const LoraPair& pair) {
    return pair.scaling * static_cast<double>(pair.rank);
  };
  const double first = alpha_of(adapter.pairs.front());
  const auto alpha = static_cast<float>(first);
  const bool same = std::ranges::all_of(adapter.pairs, [&](const LoraPair& pair) {
    return std::abs(alpha_of(pair) - first) <= kSame * std::abs(first);
  });
  return same && std::isnormal(alpha) ? alpha : 0.0F;
}

}  // namespace

Result<internal::AdapterPlan> internal::PlanGgufLora(Bytes file, std::string_view what,
                                                     const model::Config& config) {
  ETCH_ASSIGN_OR_RETURN(const formats::GgufHeader header, formats::ParseGguf(file, what));
  Result<AdapterPlan> plan = FromHeader(header, file, config);
  if (!plan) {
    return Prefix(what, std::move(plan).error());
  }
  return plan;
}

Result<Adapter> internal::ParseGgufLora(Bytes file, std::string_view what,
                                        const model::Config& config) {
  ETCH_ASSIGN_OR_RETURN(const internal::AdapterPlan plan, PlanGgufLora(file, what, config));
  Result<Adapter> adapter = Decode(plan, config);
  if (!adapter) {
    return Prefix(what, std::move(adapter).error());
  }
  return adapter;
}

Status WriteGguf(const Adapter& adapter, const model::Config& config,
                 const std::filesystem::path& path) {
  using namespace formats;
  ETCH_TRY(internal::CheckComplete(adapter, config));
  const float alpha = CommonAlpha(adapter);
  GgufMetadata metadata;
  metadata.Add("general.architecture", GgufString("llama"));
  metadata.Add("general.type", GgufString("adapter"));
  metadata.Add("general.name", GgufString(adapter.name));
  if (!adapter.base_model.empty()) {
    metadata.Add("general.base_model.count", GgufUint32(1));
    metadata.Add("general.base_model.0.name", GgufString(adapter.base_model));
  }
  metadata.Add("general.file_type", GgufUint32(0));  // all F32
  metadata.Add("adapter.type", GgufString("lora"));
  metadata.Add(std::string(kAlphaKey), GgufFloat32(alpha));
  std::vector<std::vector<float>> folded;
  folded.reserve(adapter.pairs.size());
  std::vector<GgufSource> sources;
  for (const LoraPair& pair : adapter.pairs) {
    const std::string name = model::TensorName(pair.role, pair.layer);
    folded.push_back(pair.b);
    if (alpha == 0.0F) {
      for (float& value : folded.back()) {
        value = static_cast<float>(static_cast<double>(value) * pair.scaling);
      }
    }
    sources.push_back({fmt::format("{}{}", name, kSuffixA),
                       DataType::kF32,
                       {pair.cols, pair.rank},
                       std::as_bytes(std::span(pair.a))});
    sources.push_back({fmt::format("{}{}", name, kSuffixB),
                       DataType::kF32,
                       {pair.rank, pair.rows},
                       std::as_bytes(std::span(folded.back()))});
  }
  return formats::WriteGguf(path, metadata, sources);
}

}  // namespace etch::adapter
