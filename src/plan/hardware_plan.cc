#include "plan/hardware_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <map>

#include "numerics/activation.h"
#include "numerics/weights.h"

namespace etch::plan {
namespace {

using model::InputSite;
using model::Role;

constexpr int64_t kGroup = numerics::kGroup;
constexpr int64_t kAdapterLanes = 32;  // of the adapter memory's words

constexpr int64_t RoundUp(int64_t value, int64_t to) { return (value + to - 1) / to * to; }

int64_t BitsOf(int64_t value) { return std::bit_width(static_cast<uint64_t>(value)); }

struct Bounded {
  std::string_view name;
  int64_t value = 0;
  int64_t low = 1;
  int64_t high = 1;
};

Status CheckWidths(const model::Config& config, const Choices& choices) {
  constexpr int64_t kMaxWidth = int64_t{1} << 20;
  const Bounded bounded[] = {
      {"splits", choices.splits, 1, kMaxWidth},
      {"elements of a vector a cycle", choices.vector_width, 1, kMaxWidth},
      {"blocks of attention a cycle", choices.attention_width, 1, kMaxWidth},
      {"lanes for adapters", choices.adapter_lanes, kAdapterLanes, kMaxWidth},
      {"layers in flight", choices.stages, 1, config.n_layers},
  };
  for (const Bounded& one : bounded) {
    if (one.value < one.low || one.value > one.high) {
      return Fail(ErrorCode::kInvalidArgument, "{} {}: {} to {} can be built", one.value, one.name,
                  one.low, one.high);
    }
  }
  return {};
}

Status CheckChoices(const model::Config& config, Choices& choices) {
  constexpr int64_t kDefaultContext = 512;
  constexpr int64_t kMaxLanes = int64_t{1} << 24;
  constexpr int64_t kMaxRank = 1024;
  constexpr int64_t kMaxUsers = 4096;
  if (choices.context == 0) {
    choices.context = std::min(config.context, kDefaultContext);
  }
  if (choices.lanes < 8 || choices.lanes > kMaxLanes ||
      !std::has_single_bit(static_cast<uint64_t>(choices.lanes))) {
    return Fail(ErrorCode::kInvalidArgument, "{} lanes: a power of two from 8 to {} is needed",
                choices.lanes, kMaxLanes);
  }
  if (choices.context < 1 || choices.context > config.context) {
    return Fail(ErrorCode::kInvalidArgument, "a context of {}: the model's is {}", choices.context,
                config.context);
  }
  if (choices.sessions < 1 || choices.sessions > kMaxUsers) {
    return Fail(ErrorCode::kInvalidArgument, "{} sessions: 1 to {} can be on a chip",
                choices.sessions, kMaxUsers);
  }
  if (choices.adapter_rank < 0 || choices.adapter_rank > std::min(kMaxRank, config.dim)) {
    return Fail(ErrorCode::kInvalidArgument, "adapters of rank {}: 0 to {} can be on a chip",
                choices.adapter_rank, std::min(kMaxRank, config.dim));
  }
  if (choices.adapter_slots < 0 || choices.adapter_slots > kMaxUsers ||
      (choices.adapter_slots == 0) != (choices.adapter_rank == 0)) {
    return Fail(ErrorCode::kInvalidArgument,
                "{} adapter slots of rank {}: a chip with adapters has 1 to {}, one without has "
                "neither",
                choices.adapter_slots, choices.adapter_rank, kMaxUsers);
  }
  return CheckWidths(config, choices);
}

// Builds a plan; what is laid out first stands first.
class Planner {
 public:
  Planner(const ModelShape& shape, const Choices& choices)
      : shape_(shape), config_(shape.config) {
    plan_.fabric.config = config_;
    plan_.fabric.choices = choices;
    plan_.fabric.rank = RoundUp(choices.adapter_rank, kGroup);
  }

  Result<HardwarePlan> Run() {
    LayOutWork();
    ETCH_TRY(LayOutMatrices());
    LayOutAdapter();
    AddSteps();
    return std::move(plan_);
  }

 private:
  int64_t lanes() const { return plan_.fabric.choices.lanes; }

  int64_t Take(int64_t words) {
    const int64_t at = plan_.fabric.work_words;
    plan_.fabric.work_words += words;
    return at;
  }

  void LayOutWork() {
    WorkMap& map = plan_.map;
    map.x = Take(config_.dim);
    map.normed = Take(config_.dim);
    map.q = Take(config_.q_dim());
    map.k = Take(config_.kv_dim());
    map.v = Take(config_.kv_dim());
    map.attended = Take(config_.q_dim());
    map.gate = Take(config_.ffn_dim);
    map.up = Take(config_.ffn_dim);
    map.y = Take(config_.dim);
    map.inner = Take(plan_.fabric.rank);
    Fabric& fabric = plan_.fabric;
    fabric.input_words = RoundUp(std::max({config_.dim, config_.q_dim(), config_.ffn_dim}), kGroup);
    const int64_t largest = std::max({fabric.work_words, fabric.input_words + fabric.rank,
                                      RoundUp(config_.vocab_size, lanes())});
    fabric.address_bits = BitsOf(largest) + 1;
    fabric.id_bits = BitsOf(config_.vocab_size);
  }

  void AddMatrix(Role role, int64_t layer) {
    const model::Shape size = model::TensorShape(config_, role);
    MatrixPlace place{role, layer, size.rows, size.cols, shape_.w6.contains({role, layer})};
    place.code_base = plan_.code_words;
    place.param_base = plan_.param_words;
    place.row_base = plan_.row_words;
    plan_.code_words += place.code_words(lanes());
    plan_.param_words += place.tiles(lanes()) * place.groups();
    plan_.row_words += place.tiles(lanes()) * lanes();
    plan_.matrices.push_back(place);
  }

  Status LayOutMatrices() {
    AddMatrix(Role::kTokenEmbedding, 0);
    for (int64_t layer = 0; layer < config_.n_layers; ++layer) {
      for (const Role role : model::kBlockLinears) {
        AddMatrix(role, layer);
      }
    }
    if (!config_.tied_embeddings) {
      AddMatrix(Role::kHead, 0);
    }
    plan_.gain_words = (2 * config_.n_layers + 1) * config_.dim;
    constexpr int64_t kAddressable = int64_t{1} << 32;
    if (plan_.code_words >= kAddressable) {
      return Fail(ErrorCode::kUnsupported, "{} words of ROM; more lanes make fewer",
                  plan_.code_words);
    }
    return {};
  }

  void LayOutAdapter() {
    Fabric& fabric = plan_.fabric;
    if (fabric.rank == 0) {
      return;
    }
    for (int64_t layer = 0; layer < config_.n_layers; ++layer) {
      for (const Role role : model::kBlockLinears) {
        const model::Shape shape = model::TensorShape(config_, role);
        AdapterPlace place{role, layer};
        place.a_words = fabric.slot_words;
        place.a_rows = fabric.slot_rows;
        fabric.slot_words += fabric.rank / kAdapterLanes * RoundUp(shape.cols, kGroup);
        fabric.slot_rows += fabric.rank;
        place.b_words = fabric.slot_words;
        place.b_rows = fabric.slot_rows;
        fabric.slot_words += RoundUp(shape.rows, kAdapterLanes) / kAdapterLanes * fabric.rank;
        fabric.slot_rows += RoundUp(shape.rows, kAdapterLanes);
        plan_.adapter.push_back(place);
      }
    }
  }

  const MatrixPlace& PlaceOf(Role role, int64_t layer) const {
    return *std::ranges::find_if(plan_.matrices, [&](const MatrixPlace& place) {
      return place.role == role && place.layer == layer;
    });
  }

  Step& Add(Operation operation, std::string name) {
    Step& step = plan_.steps.emplace_back();
    step.operation = operation;
    step.name = std::move(name);
    step.layer = layer_;
    return step;
  }

  static std::string NameIn(int64_t layer, std::string_view what) {
    return fmt::format("layer {}, {}", layer, what);
  }

  void AddNorm(std::string name, int64_t gain_row, bool wanted_only = false) {
    Step& step = Add(Operation::kNorm, std::move(name));
    step.a = plan_.map.x;
    step.d = plan_.map.normed;
    step.n = config_.dim;
    step.x = gain_row * config_.dim;
    step.wanted_only = wanted_only;
  }

  bool IsWide(InputSite site, int64_t layer) const {
    return shape_.a16.contains({site, layer});
  }

  // The input of the linear layers of `site`, from n words at `source`.
  Step& AddInput(std::string name, InputSite site, int64_t layer, int64_t source, int64_t n) {
    Step& step = Add(Operation::kQuantise, std::move(name));
    step.a = source;
    step.n = n;
    step.format = IsWide(site, layer) ? CodeFormat::kA16 : CodeFormat::kA8;
    return step;
  }

  Step& AddProduct(std::string name, const MatrixPlace& place, InputSite site, int64_t layer) {
    Step& step = Add(Operation::kBase, std::move(name));
    step.n = place.rows;
    step.groups = place.groups();
    step.x = place.code_base;
    step.y = place.param_base;
    step.z = place.row_base;
    step.w6 = place.w6;
    step.a16 = IsWide(site, layer);
    step.product = site == InputSite::kDown;
    return step;
  }

  // A linear layer into `d`, with what the adapter adds.
  void AddLinear(Role role, int64_t layer, int64_t d) {
    const InputSite site = model::SiteOf(role);
    const MatrixPlace& place = PlaceOf(role, layer);
    const std::string name = model::TensorName(role, layer);
    AddProduct(name, place, site, layer).d = d;
    if (plan_.fabric.rank == 0) {
      return;
    }
    const AdapterPlace& adapter = *std::ranges::find_if(
        plan_.adapter,
        [&](const AdapterPlace& found) { return found.role == role && found.layer == layer; });
    Step& a = Add(Operation::kAdapter, name + ", adapter A");
    a.adapter_only = true;
    a.n = plan_.fabric.rank;
    a.groups = place.groups();
    a.x = adapter.a_words;
    a.z = adapter.a_rows;
    a.a16 = IsWide(site, layer);
    a.product = site == InputSite::kDown;
    a.d = plan_.map.inner;
    Step& inner = Add(Operation::kQuantise, name + ", adapter's inner vector");
    inner.adapter_only = true;
    inner.a = plan_.map.inner;
    inner.n = plan_.fabric.rank;
    inner.target = CodeTarget::kInner;
    Step& b = Add(Operation::kAdapter, name + ", adapter B");
    b.adapter_only = true;
    b.n = place.rows;
    b.groups = plan_.fabric.rank / kGroup;
    b.x = adapter.b_words;
    b.z = adapter.b_rows;
    b.from_inner = true;
    b.add = true;
    b.d = d;
  }

  void AddRotation(std::string name, int64_t at, int64_t heads) {
    Step& step = Add(Operation::kRope, std::move(name));
    step.a = at;
    step.n = heads;
  }

  void AddHeads(std::string name, int64_t layer, int64_t at, int64_t n, CodeTarget target) {
    Step& step = Add(Operation::kQuantise, std::move(name));
    step.a = at;
    step.n = n;
    step.per_head = true;
    step.format = target == CodeTarget::kValues ? CodeFormat::kA8 : CodeFormat::kA14;
    step.target = target;
    step.x = layer * plan_.fabric.choices.context;
  }

  void AddResidual(int64_t layer) {
    Step& step = Add(Operation::kResidual, NameIn(layer, "residual"));
    step.a = plan_.map.x;
    step.b = plan_.map.y;
    step.n = config_.dim;
  }

  void AddLayer(int64_t layer) {
    layer_ = layer;
    const WorkMap& map = plan_.map;
    AddNorm(NameIn(layer, "attention norm"), 2 * layer);
    AddInput(NameIn(layer, "attention input"), InputSite::kAttention, layer, map.normed,
             config_.dim);
    AddLinear(Role::kWq, layer, map.q);
    AddLinear(Role::kWk, layer, map.k);
    AddLinear(Role::kWv, layer, map.v);
    AddRotation(NameIn(layer, "rotate queries"), map.q, config_.n_heads);
    AddRotation(NameIn(layer, "rotate keys"), map.k, config_.n_kv_heads);
    AddHeads(NameIn(layer, "queries"), layer, map.q, config_.q_dim(), CodeTarget::kQueries);
    AddHeads(NameIn(layer, "keys"), layer, map.k, config_.kv_dim(), CodeTarget::kKeys);
    AddHeads(NameIn(layer, "values"), layer, map.v, config_.kv_dim(), CodeTarget::kValues);
    Step& attend = Add(Operation::kAttend, NameIn(layer, "attention"));
    attend.x = layer * plan_.fabric.choices.context;
    attend.d = map.attended;
    AddInput(NameIn(layer, "output input"), InputSite::kOutput, layer, map.attended,
             config_.q_dim());
    AddLinear(Role::kWo, layer, map.y);
    AddResidual(layer);
    AddNorm(NameIn(layer, "ffn norm"), 2 * layer + 1);
    AddInput(NameIn(layer, "ffn input"), InputSite::kFfn, layer, map.normed, config_.dim);
    AddLinear(Role::kGate, layer, map.gate);
    AddLinear(Role::kUp, layer, map.up);
    Step& product =
        AddInput(NameIn(layer, "down input"), InputSite::kDown, layer, map.gate, config_.ffn_dim);
    product.b = map.up;
    product.product = true;
    AddLinear(Role::kDown, layer, map.y);
    AddResidual(layer);
  }

  void AddSteps() {
    const MatrixPlace& embedding = plan_.matrices.front();
    Step& embed = Add(Operation::kEmbed, "embedding");
    embed.n = config_.dim;
    embed.groups = embedding.groups();
    embed.x = embedding.code_base;
    embed.y = embedding.param_base;
    embed.z = embedding.row_base;
    embed.w6 = embedding.w6;
    embed.d = plan_.map.x;
    Add(Operation::kAngles, "angles of the position");
    for (int64_t layer = 0; layer < config_.n_layers; ++layer) {
      AddLayer(layer);
    }
    AddNorm("final norm", 2 * config_.n_layers, true);
    AddInput("head input", InputSite::kHead, 0, plan_.map.normed, config_.dim).wanted_only = true;
    const MatrixPlace& head = config_.tied_embeddings ? embedding : PlaceOf(Role::kHead, 0);
    Step& logits = AddProduct("logits", head, InputSite::kHead, 0);
    logits.to_logits = true;
    logits.wanted_only = true;
    Add(Operation::kSample, "choice of the token").wanted_only = true;
    Add(Operation::kEnd, "end");
  }

  const ModelShape& shape_;
  const model::Config& config_;
  int64_t layer_ = 0;  // whose steps are being added
  HardwarePlan plan_;
};

}  // namespace

int64_t MatrixPlace::groups() const { return numerics::GroupCount(cols); }

int64_t MatrixPlace::tiles(int64_t lanes) const { return (rows + lanes - 1) / lanes; }

int64_t MatrixPlace::code_words(int64_t lanes) const {
  return tiles(lanes) * groups() * kGroup * (w6 ? 2 : 1);
}

std::string_view OperationName(Operation operation) {
  switch (operation) {
    case Operation::kEnd:
      return "end";
    case Operation::kEmbed:
      return "embed";
    case Operation::kAngles:
      return "angles";
    case Operation::kNorm:
      return "norm";
    case Operation::kQuantise:
      return "quantise";
    case Operation::kBase:
      return "base";
    case Operation::kAdapter:
      return "adapter";
    case Operation::kRope:
      return "rope";
    case Operation::kAttend:
      return "attend";
    case Operation::kResidual:
      return "residual";
    case Operation::kSample:
      return "sample";
  }
  return "";
}

int64_t MatrixPlace::code_bits() const { return rows * groups() * kGroup * (w6 ? 6 : 3); }

int64_t MatrixPlace::param_bits() const { return rows * groups() * 6; }

int64_t MatrixPlace::row_scale_bits() const { return rows * 24; }

Result<ModelShape> ShapeOf(const image::Image& image) {
  if (image.is_source()) {
    return Fail(ErrorCode::kUnsupported,
                "the image holds original weights (--recipe source); a chip is made of a quantised "
                "one");
  }
  ModelShape shape;
  shape.config = image.config();
  Status status;
  const auto add = [&](Role role, int64_t layer) {
    const numerics::WeightFormat format = image.Weights(role, layer).format;
    if (format == numerics::WeightFormat::kW6) {
      shape.w6.emplace(role, layer);
    } else if (format != numerics::WeightFormat::kW3) {
      status = Fail(ErrorCode::kUnsupported, "{} is {}; a chip holds W3 and W6",
                    model::TensorName(role, layer), numerics::FormatName(format));
    }
  };
  const auto add_input = [&](InputSite site, int64_t layer) {
    if (image.InputFormat(site, layer) == numerics::ActivationFormat::kA16) {
      shape.a16.emplace(site, layer);
    }
  };
  add(Role::kTokenEmbedding, 0);
  for (int64_t layer = 0; layer < shape.config.n_layers; ++layer) {
    for (const Role role : model::kBlockLinears) {
      add(role, layer);
      add_input(model::SiteOf(role), layer);
    }
  }
  if (!shape.config.tied_embeddings) {
    add(Role::kHead, 0);
  }
  add_input(InputSite::kHead, 0);
  ETCH_TRY(status);
  return shape;
}

Result<HardwarePlan> MakePlan(const ModelShape& shape, const Choices& choices) {
  Choices chosen = choices;
  ETCH_TRY(CheckChoices(shape.config, chosen));
  return Planner(shape, chosen).Run();
}

Result<HardwarePlan> MakePlan(const image::Image& image, const Choices& choices) {
  ETCH_ASSIGN_OR_RETURN(const ModelShape shape, ShapeOf(image));
  return MakePlan(shape, choices);
}

int64_t Segments(int64_t rows, int64_t groups, int64_t lanes, int64_t splits) {
  const auto floor = [](int64_t value) {
    return static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(std::max<int64_t>(value, 1))));
  };
  return std::min({floor(lanes / rows), floor(splits), floor(groups)});
}

int64_t StageOf(const Fabric& fabric, int64_t layer) {
  return layer * fabric.choices.stages / fabric.config.n_layers;
}

}  // namespace etch::plan
