#include "chip/estimate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "chip/cost.h"

namespace etch::chip {
namespace {

constexpr double kUm2InMm2 = 1e-6;
constexpr double kFjInNj = 1e-6;

constexpr MetricInfo kMetrics[] = {
    {"area_mm2", "mm2", "area of the model, all chips"},
    {"chips", "1", "chips"},
    {"die_mm2", "mm2", "area of a die"},
    {"reticle_share", "1", "die over reticle"},
    {"transistors", "1", "transistors"},
    {"rom_mb_per_mm2", "MB/mm2", "ROM density (10^6 bytes)"},
    {"clock_ghz", "GHz", "clock"},
    {"tokens_per_s_user", "tokens/s", "tokens/s of a user"},
    {"tokens_per_s_total", "tokens/s", "tokens/s of all users"},
    {"prompt_tokens_per_s", "tokens/s", "prompt tokens/s of a user"},
    {"first_token_ms", "ms", "first token after"},
    {"adapter_swap_ms", "ms", "upload of an adapter"},
    {"mj_per_token", "mJ", "energy a token, chips alone"},
    {"tops_per_w", "TOPS/W", "operations a joule (2 a weight)"},
    {"chip_w", "W", "power of a chip"},
    {"card_w", "W", "power of a card"},
    {"server_w", "W", "power of a server"},
    {"tokens_per_j", "tokens/J", "tokens a joule, at the wall"},
    {"dies_per_wafer", "1", "dies a wafer"},
    {"yield_murphy", "1", "yield, Murphy"},
    {"yield_poisson", "1", "yield, Poisson"},
    {"die_usd", "USD", "cost of a good die"},
    {"card_usd", "USD", "cost of a card"},
    {"server_usd", "USD", "cost of a server"},
    {"respin_usd", "USD", "new weights on this fabric: masks and work"},
    {"nre_usd", "USD", "first model: fabric, mask set and respin"},
    {"usd_per_mtoken", "USD", "price of a million tokens, without the fabric's NRE"},
    {"usd_per_mtoken_nre", "USD", "the same with the fabric's NRE over the volume"},
};

// Puts blocks together: area, transistors, energy a token and leakage of each.
class Builder {
 public:
  Builder(const Design& design, const Counts& counts, const Values& values)
      : design_(design),
        counts_(counts),
        values_(values),
        scale_(EnergyScale(design, values) * ValueOf(values, "switching_factor")) {}

  std::vector<Block> Run() {
    if (design_.weights.rom == RomKind::kSpatial) {
      AddWiredWeights();
    } else {
      AddRoms();
      AddLanes();
    }
    AddOtherUnits();
    AddMemories();
    AddPort();
    AddOverhead();
    return std::move(blocks_);
  }

 private:
  double Of(std::string_view name) const { return ValueOf(values_, name); }

  Block& Add(std::string name, BlockKind kind) {
    Block& block = blocks_.emplace_back();
    block.name = std::move(name);
    block.kind = kind;
    return block;
  }

  // mm² of `bits` in the mask; of logic, by what is in them.
  double RomArea(double bits) const {
    if (design_.weights.rom == RomKind::kMask) {
      return bits * Of("rom_cell_um2") / Of("rom_array_efficiency") * kUm2InMm2;
    }
    // Logic was measured on weights of 3 bits that carry 2.71 (Gaussian, least error).
    constexpr double kMeasured = 2.71 / 3.0;
    const WeightStorage& weights = design_.weights;
    const double carried =
        weights.entropy_bits > 0.0 ? weights.entropy_bits / weights.code_bits / kMeasured : 1.0;
    return bits * carried * Of("rom_logic_um2_per_bit") / Of("utilisation") * kUm2InMm2;
  }

  Block& AddRom(std::string name, double bits) {
    Block& block = Add(std::move(name), BlockKind::kRom);
    const bool mask = design_.weights.rom == RomKind::kMask;
    block.area_mm2 = RomArea(bits);
    block.transistors =
        bits * Of(mask ? "rom_transistors_per_bit" : "rom_logic_transistors_per_bit");
    if (!mask) {
      const double cells_um2 = block.area_mm2 / kUm2InMm2 * Of("utilisation");
      block.leakage_w = cells_um2 * Of("leakage_nw_per_um2") * 1e-9;
    }
    return block;
  }

  // Every weight has hardware of its own; what stands beside it is as dense as the rest.
  void AddWiredWeights() {
    Block& block = AddLogic("wired weights", counts_.weights * Of("spatial_um2_per_weight"));
    // Measured in ASAP7; other technologies by their energy of logic.
    block.energy_nj = counts_.products * Of("spatial_energy_fj_per_weight") *
                      Of("logic_energy_fj_per_um2") / Of("reference_energy_fj_per_um2") * scale_ *
                      kFjInNj;
    AddRom("scales and tables ROM", counts_.table_bits);
  }

  void AddRoms() {
    const bool mask = design_.weights.rom == RomKind::kMask;
    const double read = Of(mask ? "rom_energy_fj_per_bit" : "rom_logic_energy_fj_per_bit") *
                        kFjInNj * scale_ * counts_.weight_bits;
    const double held = counts_.layer_bits + counts_.head_bits + counts_.group_bits;
    AddRom("embedding ROM", counts_.embedding_bits);
    const double parts[] = {counts_.layer_bits, counts_.head_bits, counts_.group_bits};
    const char* names[] = {"layers' weight ROM", "head ROM", "group parameter ROM"};
    for (size_t part = 0; part < std::size(parts); ++part) {
      Block& block = AddRom(names[part], parts[part]);
      block.energy_nj = held > 0.0 ? read * parts[part] / held : 0.0;
    }
    AddRom("scales and tables ROM", counts_.table_bits);
  }

  // Cells as Yosys measures them in ASAP7, placed in this technology.
  Block& AddLogic(std::string name, double cells_um2) {
    Block& block = Add(std::move(name), BlockKind::kLogic);
    const double cells = cells_um2 * Of("cell_scale");
    block.area_mm2 = cells / Of("utilisation") * kUm2InMm2;
    block.transistors = cells_um2 * Of("transistors_per_um2");
    block.leakage_w = cells * Of("leakage_nw_per_um2") * 1e-9;
    return block;
  }

  // Switching of so many µm² (ASAP7), of which some are flip-flops, `times` a token.
  double Switching(double um2, double flops, double times) const {
    const double logic_um2 = std::max(0.0, um2 - flops * Of("flop_um2"));
    const double fj = logic_um2 * Of("active_share") * Of("logic_energy_fj_per_um2") +
                      flops * Of("flop_energy_fj");
    return fj * times * scale_ * kFjInNj;
  }

  // Moving bits over so many mm.
  double Moving(double bits, double mm) const {
    return bits * mm * Of("wire_energy_fj_per_bit_mm") * scale_ * kFjInNj;
  }

  // A lane by what it must take: the wide one W6 and A16, and more levels have a larger select.
  struct Lane {
    double um2 = 0.0;  // with its share of a bank's products
    double flops = 0.0;
    double wires = 0.0;  // products that pass over it, in bits
    double memory_bits = 0.0;
  };
  Lane LaneOf() const {
    const bool narrow = design_.shape.w6.empty() && design_.shape.a16.empty();
    const double levels = std::exp2(design_.weights.code_bits) / 8.0;
    const double select = 1.0 + Of("lane_select_share") * (levels - 1.0);
    const double banks = 1.0 / Of("lanes_per_bank");
    return {Of(narrow ? "narrow_lane_um2" : "base_lane_um2") * select + banks * Of("bank_um2"),
            Of(narrow ? "narrow_lane_flops" : "base_lane_flops") + banks * Of("bank_flops"),
            Of("product_wires") * levels,
            Of(narrow ? "narrow_lane_memory_bits" : "base_lane_memory_bits")};
  }

  // Each lane stands beside its part of the ROM, so the products of a bank pass over both; what is
  // read goes down its own bit lines, which are in the ROM's energy.
  void AddLanes() {
    const Lane lane = LaneOf();
    Block& lanes = AddLogic("base lanes", counts_.lanes * lane.um2);
    lanes.energy_nj = Switching(lane.um2, lane.flops, counts_.lane_steps);
    double rom_mm2 = 0.0;
    for (const Block& block : blocks_) {
      rom_mm2 += block.kind == BlockKind::kRom ? block.area_mm2 : 0.0;
    }
    const double pitch = std::sqrt((rom_mm2 + lanes.area_mm2) / counts_.lanes);
    Block& wires = Add("wires of the lanes", BlockKind::kOverhead);
    wires.energy_nj = Moving(counts_.lane_steps * lane.wires, pitch);
  }

  void AddOtherUnits() {
    Block& adapters = AddLogic("adapter lanes", counts_.adapter_lanes * Of("adapter_lane_um2"));
    adapters.energy_nj =
        Switching(Of("adapter_lane_um2"), Of("adapter_lane_flops"), counts_.adapter_products);
    Block& attention = AddLogic("attention", counts_.attention_blocks * Of("attention_block_um2"));
    attention.energy_nj =
        Switching(Of("attention_block_um2"), Of("attention_block_flops"), counts_.attention_steps);
    // An element passes one of the five units at a time.
    constexpr double kUnits = 5.0;
    Block& vectors =
        AddLogic("norm, rotation, rounding", counts_.vector_elements * Of("vector_element_um2"));
    vectors.energy_nj = Switching(Of("vector_element_um2") / kUnits,
                                  Of("vector_element_flops") / kUnits, counts_.vector_steps);
    const double chips = static_cast<double>(std::max<int64_t>(1, design_.chips));
    const double wide = static_cast<double>(design_.choices.vector_width);
    AddLogic("sampler", wide * Of("sampler_um2"));
    Block& control = AddLogic("control and host port", chips * Of("control_um2"));
    control.energy_nj = Switching(0.0, Of("control_flops"), counts_.cycles);
  }

  Block& AddSram(std::string name, double bits) {
    Block& block = Add(std::move(name), BlockKind::kSram);
    block.area_mm2 = bits * Of("sram_cell_um2") / Of("sram_array_efficiency") * kUm2InMm2;
    block.transistors = bits * Of("sram_transistors_per_bit");
    block.leakage_w = bits * Of("sram_leakage_pw_per_bit") * 1e-12;
    return block;
  }

  double Reading(double bits) const {
    return bits * Of("sram_energy_fj_per_bit") * scale_ * kFjInNj;
  }

  void AddMemories() {
    Block& cache = AddSram("context SRAM", counts_.cache_bits);
    const double bits = design_.cache.on_chip ? counts_.cache_read_bits : 0.0;
    // From all over the memory to the heads: a quarter of its side.
    cache.energy_nj = Reading(bits) + Moving(bits, 0.25 * std::sqrt(cache.area_mm2));
    Block& adapters = AddSram("adapter SRAM", counts_.adapter_bits);
    const double adapter_bits = counts_.adapter_products * design_.adapter_bits;
    adapters.energy_nj =
        Reading(adapter_bits) + Moving(adapter_bits, 0.25 * std::sqrt(adapters.area_mm2));
    Block& work = AddSram("work SRAM", counts_.work_bits + counts_.lanes * LaneOf().memory_bits);
    work.energy_nj = Reading(2.0 * 32.0 * counts_.vector_steps);
  }

  void AddPort() {
    const double chips = static_cast<double>(std::max<int64_t>(1, design_.chips));
    Add("link and pads", BlockKind::kPort).area_mm2 = chips * Of("io_mm2");
  }

  void AddOverhead() {
    double area = 0.0;
    double transistors = 0.0;
    for (const Block& block : blocks_) {
      area += block.area_mm2;
      transistors += block.kind == BlockKind::kLogic ? block.transistors : 0.0;
    }
    Block& block = Add("power grid, test, spare", BlockKind::kOverhead);
    block.area_mm2 = area * Of("overhead_fraction");
    block.transistors = transistors * Of("overhead_fraction");
  }

  const Design& design_;
  const Counts& counts_;
  const Values& values_;
  double scale_;  // of all switching: supply, and what no count sees
  std::vector<Block> blocks_;
};

double AreaOf(const std::vector<Block>& blocks) {
  double area = 0.0;
  for (const Block& block : blocks) {
    area += block.area_mm2;
  }
  return area;
}

Status CheckUse(const Design& design, const Inputs& inputs) {
  const auto refuse = [](const std::string& what) {
    return Fail(ErrorCode::kInvalidArgument, "{}", what);
  };
  const Use& use = design.use;
  if (use.users < 1 || use.prompt < 1 || use.output < 1 || design.prompt_batch < 1 ||
      design.chips < 0) {
    return refuse(
        fmt::format("{} users, {} tokens in, {} out, {} at a time, {} chips: whole "
                    "numbers above 0 are needed",
                    use.users, use.prompt, use.output, design.prompt_batch, design.chips));
  }
  if (!(design.weights.code_bits >= 1.0 && design.weights.code_bits <= 4.0)) {
    return refuse(
        fmt::format("{} bits a weight: 1 to 4 can be estimated (an image's matrices of 6 "
                    "are two steps of 3)",
                    design.weights.code_bits));
  }
  const Quantity& threshold = *inputs.Find("threshold_v");
  const double least = design.voltage > 0.0 ? design.voltage : inputs.Find("voltage_v")->low;
  if (least <= threshold.high || inputs.Find("voltage_v")->low <= threshold.high) {
    return refuse(
        fmt::format("{} V: not above the threshold, which may be {} V", least, threshold.high));
  }
  const int64_t context = design.choices.context > 0 ? design.choices.context : 512;
  if (use.prompt + use.output - 1 > context) {
    return refuse(fmt::format("a prompt of {} and {} more tokens do not fit a context of {}",
                              use.prompt, use.output, context));
  }
  constexpr int64_t kMostPasses = 20'000'000;  // some seconds
  const int64_t stages = std::max(design.choices.stages, design.chips);
  const int64_t tokens = use.users * (use.prompt + use.output);
  if (use.users > kMostPasses || tokens > kMostPasses / stages) {
    return refuse(fmt::format("{} users of {} tokens through {} stages: fewer can be simulated",
                              use.users, use.prompt + use.output, stages));
  }
  return {};
}

}  // namespace

double ClockGhz(const Design& design, const Values& values) {
  const double nominal = ValueOf(values, "voltage_v");
  const double threshold = ValueOf(values, "threshold_v");
  const double alpha = ValueOf(values, "voltage_alpha");
  const auto speed = [&](double voltage) {
    return std::pow(std::max(voltage - threshold, 0.0), alpha) / voltage;
  };
  const double ratio = design.voltage > 0.0 ? speed(design.voltage) / speed(nominal) : 1.0;
  return ValueOf(values, "clock_ghz") * ratio;
}

double EnergyScale(const Design& design, const Values& values) {
  const double nominal = ValueOf(values, "voltage_v");
  return design.voltage > 0.0 ? std::pow(design.voltage / nominal, 2.0) : 1.0;
}

std::span<const MetricInfo> Metrics() { return kMetrics; }

size_t MetricIndex(std::string_view name) {
  const auto found = std::ranges::find(kMetrics, name, &MetricInfo::name);
  ETCH_CHECK(found != std::end(kMetrics), "no metric {}", name);
  return static_cast<size_t>(found - std::begin(kMetrics));
}

Result<Model> Model::Create(Design design, const Inputs& inputs) {
  ETCH_TRY(CheckUse(design, inputs));
  const Values values = inputs.Nominal();
  Model model;
  model.design_ = std::move(design);
  Design& own = model.design_;
  const bool settle = own.chips == 0;
  own.chips = std::max<int64_t>(1, own.chips);
  // More chips are more stages, whose units need area of their own.
  constexpr int kMostTurns = 64;
  for (int turn = 0; turn < kMostTurns; ++turn) {
    own.choices.stages = std::max(own.choices.stages, own.chips);
    ETCH_ASSIGN_OR_RETURN(model.plan_, plan::MakePlan(own.shape, own.choices));
    own.choices = model.plan_.fabric.choices;
    model.counts_ = CountsOf(own, model.plan_);
    const double area = AreaOf(Builder(own, model.counts_, values).Run());
    const auto needed = static_cast<int64_t>(std::ceil(area / ValueOf(values, "reticle_mm2")));
    if (!settle || needed <= own.chips) {
      break;
    }
    own.chips = std::min(needed, own.shape.config.n_layers);
    if (needed > own.shape.config.n_layers) {
      break;
    }
  }
  return model;
}

PipelineOptions Model::OptionsFor(const Values& values) const {
  PipelineOptions options;
  options.chips = design_.chips;
  options.prompt_batch = design_.prompt_batch;
  // A token's residual stream goes from chip to chip, 32 bits a channel.
  const double bytes = 4.0 * static_cast<double>(design_.shape.config.dim);
  const double seconds =
      ValueOf(values, "link_latency_us") * 1e-6 + bytes / (ValueOf(values, "link_gb_s") * 1e9);
  options.link_cycles =
      design_.chips > 1 ? std::llround(seconds * ClockGhz(design_, values) * 1e9) : 0;
  return options;
}

double Model::SwapSeconds(const Values& values) const {
  if (counts_.adapter_bits <= 0.0) {
    return 0.0;
  }
  const auto slots = static_cast<double>(std::max<int64_t>(1, design_.choices.adapter_slots));
  return ValueOf(values, "host_latency_us") * 1e-6 +
         counts_.adapter_bits / slots / 8.0 / (ValueOf(values, "host_gb_s") * 1e9);
}

Load Model::LoadFor(const Values& values) const {
  const Use& use = design_.use;
  const double swap = use.swap ? SwapSeconds(values) * ClockGhz(design_, values) * 1e9 : 0.0;
  return {use.users, use.prompt, use.output, use.adapter || use.swap, std::llround(swap)};
}

PipelineResult Model::RunUse(const Values& values) const {
  const PipelineOptions options = OptionsFor(values);
  const Load load = LoadFor(values);
  const std::pair key(options.link_cycles, load.swap_cycles);
  auto run = runs_.find(key);
  if (run == runs_.end()) {
    run = runs_.emplace(key, Simulate(plan_, options, load)).first;
  }
  return run->second;
}

PipelineResult Model::Run(const Values& values, const Load& load) const {
  return Simulate(plan_, OptionsFor(values), load);
}

Figures Model::Evaluate(const Values& values) const {
  Figures figures;
  figures.blocks = Builder(design_, counts_, values).Run();
  figures.metrics.assign(std::size(kMetrics), 0.0);
  const auto set = [&](std::string_view name, double value) {
    figures.metrics[MetricIndex(name)] = value;
  };

  double transistors = 0.0;
  double token_nj = 0.0;
  double leakage = 0.0;
  double rom_mm2 = 0.0;
  for (const Block& block : figures.blocks) {
    transistors += block.transistors;
    token_nj += block.energy_nj;
    leakage += block.leakage_w;
    rom_mm2 += block.kind == BlockKind::kRom ? block.area_mm2 : 0.0;
  }
  const auto chips = static_cast<double>(design_.chips);
  const double area = AreaOf(figures.blocks);
  set("area_mm2", area);
  set("chips", chips);
  set("die_mm2", area / chips);
  set("reticle_share", area / chips / ValueOf(values, "reticle_mm2"));
  set("transistors", transistors);
  // Wired weights are no ROM, but what they hold takes their area.
  const double holding = design_.weights.rom == RomKind::kSpatial
                             ? figures.blocks.front().area_mm2 + rom_mm2
                             : rom_mm2;
  set("rom_mb_per_mm2", counts_.rom_bits() / 8e6 / holding);

  const PipelineResult times = RunUse(values);
  const double clock = ClockGhz(design_, values) * 1e9;
  const double per_token =
      times.cycles_per_token > 0.0 ? times.cycles_per_token : times.first_token_cycles;
  const double rate_user = clock / per_token;
  const double rate_total =
      times.tokens_per_cycle > 0.0 ? clock * times.tokens_per_cycle : rate_user;
  set("clock_ghz", clock / 1e9);
  set("tokens_per_s_user", rate_user);
  set("tokens_per_s_total", rate_total);
  set("prompt_tokens_per_s", clock / times.prompt_cycles_per_token);
  set("first_token_ms", times.first_token_cycles / clock * 1e3);
  set("adapter_swap_ms", SwapSeconds(values) * 1e3);

  const double model_w = token_nj * 1e-9 * rate_total + leakage;
  const double token_j = token_nj * 1e-9 + leakage / rate_total;
  set("mj_per_token", token_j * 1e3);
  set("tops_per_w",
      token_j > 0.0 ? 2.0 * (counts_.products + counts_.adapter_products) / token_j / 1e12 : 0.0);
  set("chip_w", model_w / chips);
  CostInputs cost;
  cost.die_mm2 = area / chips;
  cost.chips = chips;
  cost.chip_w = model_w / chips;
  cost.tokens_per_s = rate_total;
  const Costs costs = CostsOf(values, cost);
  set("card_w", costs.card_w);
  set("server_w", costs.server_w);
  set("tokens_per_j", rate_total / costs.instance_w);
  set("dies_per_wafer", costs.dies_per_wafer);
  set("yield_murphy", costs.yield_murphy);
  set("yield_poisson", costs.yield_poisson);
  set("die_usd", costs.die_usd);
  set("card_usd", costs.card_usd);
  set("server_usd", costs.server_usd);
  set("respin_usd", costs.respin_usd);
  set("nre_usd", costs.nre_usd);
  set("usd_per_mtoken", costs.usd_per_mtoken);
  set("usd_per_mtoken_nre", costs.usd_per_mtoken_nre);
  return figures;
}

}  // namespace etch::chip
