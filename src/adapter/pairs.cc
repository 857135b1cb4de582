#include "adapter/pairs.h"

// A file gives halves in any order, under names of its own. They are sorted by layer, role and
// side, so that a pair is two neighbours and each fault (a half twice, a half alone) is a look at
// one neighbour. All shapes are checked against the model before the first value is decoded: an
// adapter of another base costs no memory to refuse, and the first tensor named is the same
// whatever the order in the file.

#include <algorithm>
#include <cmath>
#include <tuple>

#include "formats/dequantize.h"

namespace etch::adapter {
namespace internal {
namespace {

using formats::DataType;

bool SameLayer(const Half& left, const Half& right) {
  return left.layer == right.layer && left.role == right.role;
}

Status CheckType(const Half& half) {
  switch (half.type) {
    case DataType::kF32:
    case DataType::kF16:
    case DataType::kBf16:
    case DataType::kQ8_0:
      return {};
    default:
      return Fail(ErrorCode::kUnsupported,
                  "tensor \"{}\" is of type {}; adapters are read as F32, F16, BF16 or Q8_0",
                  half.name, formats::Traits(half.type).name);
  }
}

Status CheckRanks(const Half& a, const Half& b) {
  if (a.rank() != b.rank()) {
    return Fail(ErrorCode::kMalformed,
                "tensor \"{}\" is ({}, {}), but \"{}\" has rank {}: it must be ({}, {})", b.name,
                b.rows, b.cols, a.name, a.rank(), b.rows, a.rank());
  }
  if (a.rank() < 1 || a.rank() > kMaxRank) {
    return Fail(ErrorCode::kUnsupported, "tensor \"{}\" has rank {}; 1 to {} are supported", a.name,
                a.rank(), kMaxRank);
  }
  return {};
}

// kMalformed when the neighbours of a sorted list are not A, B, A, B of distinct layers.
Status CheckHalves(std::span<const Half> halves) {
  for (size_t index = 0; index < halves.size(); ++index) {
    const Half& half = halves[index];
    const bool has_next = index + 1 < halves.size() && SameLayer(half, halves[index + 1]);
    if (has_next && half.is_b == halves[index + 1].is_b) {
      return Fail(ErrorCode::kMalformed, "tensors \"{}\" and \"{}\" are both {} of {}", half.name,
                  halves[index + 1].name, half.is_b ? "B" : "A",
                  model::TensorName(half.role, half.layer));
    }
    const bool has_previous = index > 0 && SameLayer(half, halves[index - 1]);
    if (!has_next && !has_previous) {
      return Fail(ErrorCode::kMalformed, "tensor \"{}\" has no {} beside it", half.name,
                  half.is_b ? "A" : "B");
    }
  }
  return {};
}

Status DecodeHalf(const Half& half, std::vector<float>& out) {
  out.resize(static_cast<size_t>(half.rows * half.cols));
  if (auto done = formats::Dequantize(half.type, half.data, out); !done) {
    return Prefix(fmt::format("tensor \"{}\"", half.name), std::move(done).error());
  }
  // All at once, which the compiler makes vectors of: a value times 0 is 0 or, of infinities and
  // NaN, a NaN.
  float faults = 0.0F;
  for (const float value : out) {
    faults = std::max(faults, value * 0.0F == 0.0F ? 0.0F : 1.0F);
  }
  if (faults != 0.0F) {
    const auto bad = std::ranges::find_if(out, [](float value) { return !std::isfinite(value); });
    const int64_t index = bad - out.begin();
    return Fail(ErrorCode::kMalformed, "tensor \"{}\" holds {} in row {}, column {}", half.name,
                std::isnan(*bad) ? "a NaN" : "an infinity", index / half.cols, index % half.cols);
  }
  return {};
}

}  // namespace

Result<std::vector<PairPlan>> JoinHalves(std::vector<Half> halves, const model::Config& config,
                                         const ScalingOf& scaling) {
  if (halves.empty()) {
    return Fail(ErrorCode::kMalformed, "holds no LoRA tensors");
  }
  std::ranges::sort(halves, {}, [](const Half& half) {
    return std::tuple(half.layer, half.role, half.is_b, std::string_view(half.name));
  });
  ETCH_TRY(CheckHalves(halves));
  Adapter shapes;
  std::vector<PairPlan> plans;
  for (size_t index = 0; index < halves.size(); index += 2) {
    const Half& a = halves[index];
    const Half& b = halves[index + 1];
    ETCH_TRY(CheckType(a));
    ETCH_TRY(CheckType(b));
    ETCH_TRY(CheckRanks(a, b));
    ETCH_ASSIGN_OR_RETURN(const double factor, scaling(a));
    LoraPair pair;
    pair.role = a.role;
    pair.layer = a.layer;
    pair.rank = a.rank();
    pair.scaling = factor;
    pair.cols = a.cols;
    pair.rows = b.rows;
    pair.a_name = a.name;
    pair.b_name = b.name;
    shapes.pairs.push_back(std::move(pair));
    plans.push_back({a, b, factor});
  }
  ETCH_TRY(ValidateFor(shapes, config));
  return plans;
}

Result<LoraPair> DecodePair(const AdapterPlan& plan, const PairPlan& pair,
                            const model::Config& config) {
  LoraPair out;
  out.role = pair.a.role;
  out.layer = pair.a.layer;
  out.rank = pair.a.rank();
  out.scaling = pair.scaling;
  out.cols = pair.a.cols;
  out.rows = pair.b.rows;
  out.a_name = pair.a.name;
  out.b_name = pair.b.name;
  ETCH_TRY(DecodeHalf(pair.a, out.a));
  ETCH_TRY(DecodeHalf(pair.b, out.b));
  if (plan.huggingface_rows && (out.role == model::Role::kWq || out.role == model::Role::kWk)) {
    out.b = ReorderRows(out, config.head_dim, /*to_etch=*/true);
  }
  return out;
}

Result<Adapter> Decode(const AdapterPlan& plan, const model::Config& config) {
  Adapter adapter = plan.head;
  for (const PairPlan& pair : plan.pairs) {
    ETCH_ASSIGN_OR_RETURN(LoraPair decoded, DecodePair(plan, pair, config));
    adapter.pairs.push_back(std::move(decoded));
  }
  return adapter;
}

Status CheckComplete(const Adapter& adapter, const model::Config& config) {
  if (adapter.pairs.empty()) {
    return Fail(ErrorCode::kInvalidArgument, "adapter \"{}\" has no pairs", adapter.name);
  }
  const auto place = [](const LoraPair& pair) { return std::pair(pair.layer, pair.role); };
  const auto finite = [](float value) { return std::isfinite(value); };
  for (size_t index = 0; index < adapter.pairs.size(); ++index) {
    const LoraPair& pair = adapter.pairs[index];
    const auto values = [&](int64_t extent) { return static_cast<size_t>(pair.rank * extent); };
    const std::string where =
        fmt::format("adapter \"{}\", {}", adapter.name, model::TensorName(pair.role, pair.layer));
    if (index > 0 && place(adapter.pairs[index - 1]) >= place(pair)) {
      return Fail(ErrorCode::kInvalidArgument, "{}: pairs are not sorted by layer and role", where);
    }
    if (pair.rank < 1 || pair.rank > kMaxRank || pair.a.size() != values(pair.cols) ||
        pair.b.size() != values(pair.rows)) {
      return Fail(ErrorCode::kInvalidArgument, "{}: rank {} and the sizes of A and B disagree",
                  where, pair.rank);
    }
    if (!std::isfinite(pair.scaling) || !std::ranges::all_of(pair.a, finite) ||
        !std::ranges::all_of(pair.b, finite)) {
      return Fail(ErrorCode::kInvalidArgument, "{}: a value is not finite", where);
    }
  }
  return ValidateFor(adapter, config);
}

int64_t TakeLayer(std::string_view& text) {
  constexpr size_t kMaxDigits = 3;
  const size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  if (digits == 0 || digits > kMaxDigits || (digits > 1 && text.front() == '0')) {
    return -1;
  }
  int64_t layer = 0;
  for (const char digit : text.substr(0, digits)) {
    layer = 10 * layer + (digit - '0');
  }
  text.remove_prefix(digits);
  return layer;
}

std::vector<float> ReorderRows(const LoraPair& pair, int64_t head_dim, bool to_etch) {
  if (pair.role != model::Role::kWq && pair.role != model::Role::kWk) {
    return pair.b;
  }
  std::vector<float> ordered(pair.b.size());
  for (int64_t row = 0; row < pair.rows; ++row) {
    const int64_t to =
        to_etch ? model::InterleavedRow(row, head_dim) : model::HuggingFaceRow(row, head_dim);
    std::copy_n(pair.b.begin() + row * pair.rank, pair.rank, ordered.begin() + to * pair.rank);
  }
  return ordered;
}

}  // namespace internal

namespace {

// The name in the file, or Etch's for a pair that was made in memory.
std::string NameOf(const LoraPair& pair, bool is_b) {
  const std::string& name = is_b ? pair.b_name : pair.a_name;
  return name.empty() ? model::TensorName(pair.role, pair.layer) + (is_b ? ".lora_b" : ".lora_a")
                      : name;
}

}  // namespace

Status ValidateFor(const Adapter& adapter, const model::Config& config) {
  for (const LoraPair& pair : adapter.pairs) {
    const std::string target = model::TensorName(pair.role, pair.layer);
    if (std::ranges::find(model::kBlockLinears, pair.role) == model::kBlockLinears.end()) {
      return Fail(ErrorCode::kMismatch, "tensor \"{}\": {} is not a linear layer of a block",
                  NameOf(pair, false), target);
    }
    if (pair.layer < 0 || pair.layer >= config.n_layers) {
      return Fail(ErrorCode::kMismatch, "tensor \"{}\" is for layer {}; the model has {} layers",
                  NameOf(pair, false), pair.layer, config.n_layers);
    }
    const model::Shape shape = model::TensorShape(config, pair.role);
    if (pair.cols != shape.cols) {
      return Fail(ErrorCode::kMismatch,
                  "tensor \"{}\" is ({}, {}); {} of this model is ({}, {}) and needs ({}, {})",
                  NameOf(pair, false), pair.rank, pair.cols, target, shape.rows, shape.cols,
                  pair.rank, shape.cols);
    }
    if (pair.rows != shape.rows) {
      return Fail(ErrorCode::kMismatch,
                  "tensor \"{}\" is ({}, {}); {} of this model is ({}, {}) and needs ({}, {})",
                  NameOf(pair, true), pair.rows, pair.rank, target, shape.rows, shape.cols,
                  shape.rows, pair.rank);
    }
  }
  return {};
}

}  // namespace etch::adapter
