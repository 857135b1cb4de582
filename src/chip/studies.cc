#include "chip/studies.h"

#include <algorithm>
#include <cmath>

namespace etch::chip {
namespace {

constexpr double kMib = 8.0 * 1024.0 * 1024.0;  // in bits

double At(const Values& values, std::string_view name) { return values.find(name)->second; }

SpeedPoint Measure(const Model& model, const Values& values, const Load& load) {
  const PipelineResult run = model.Run(values, load);
  const double clock = ClockGhz(model.design(), values) * 1e9;
  SpeedPoint point;
  point.users = load.users;
  point.context = load.prompt + load.output / 2;
  point.tokens_per_s_user = clock / run.cycles_per_token;
  point.tokens_per_s_total = clock * run.tokens_per_cycle;
  return point;
}

double SramBitsPerMm2(const Values& values) {
  return At(values, "sram_array_efficiency") / At(values, "sram_cell_um2") * 1e6;
}

}  // namespace

std::vector<SpeedPoint> SpeedOverContext(const Model& model, const Inputs& inputs) {
  const Values values = inputs.Nominal();
  const int64_t most = model.design().choices.context;
  std::vector<SpeedPoint> points;
  // A short answer at each context: the rate there.
  constexpr int64_t kAnswer = 16;
  for (int64_t prompt = 1; prompt + kAnswer <= most; prompt = prompt < 16 ? 16 : prompt * 2) {
    points.push_back(
        Measure(model, values, {1, prompt, kAnswer, model.design().use.adapter, 0}));
  }
  return points;
}

std::vector<SpeedPoint> SpeedOverUsers(const Model& model, const Inputs& inputs) {
  const Values values = inputs.Nominal();
  const int64_t most = std::max<int64_t>(16, 2 * model.design().choices.stages);
  const Use& use = model.design().use;
  std::vector<SpeedPoint> points;
  // Long enough for the pipeline to fill.
  const int64_t output = std::clamp<int64_t>(use.output, 2, 64);
  for (int64_t users = 1; users <= most; users *= 2) {
    points.push_back(Measure(model, values, {users, use.prompt, output, use.adapter, 0}));
  }
  return points;
}

std::vector<SweepPoint> Sweep(const Design& design, const Inputs& inputs) {
  const Values values = inputs.Nominal();
  std::vector<SweepPoint> points;
  for (int64_t lanes = std::max<int64_t>(8, design.choices.lanes / 16);
       lanes <= design.choices.lanes * 4; lanes *= 2) {
    for (int64_t stages = 1; stages <= design.shape.config.n_layers; stages *= 2) {
      Design other = design;
      other.choices.lanes = lanes;
      other.choices.stages = stages;
      other.chips = std::max<int64_t>(1, design.chips);
      if (stages < other.chips) {
        continue;
      }
      const Result<Model> model = Model::Create(other, inputs);
      if (!model) {
        continue;  // lanes that the plan refuses
      }
      const Figures figures = model->Evaluate(values);
      const auto figure = [&](std::string_view name) {
        return figures.metrics[MetricIndex(name)];
      };
      SweepPoint point;
      point.lanes = lanes;
      point.stages = stages;
      point.area_mm2 = figure("area_mm2");
      point.tokens_per_s_user = figure("tokens_per_s_user");
      point.card_w = figure("card_w");
      const int64_t output = std::clamp<int64_t>(design.use.output, 2, 32);
      point.tokens_per_s_total =
          Measure(*model, values, {stages, design.use.prompt, output, design.use.adapter, 0})
              .tokens_per_s_total;
      points.push_back(point);
    }
  }
  for (SweepPoint& point : points) {
    point.best = std::ranges::none_of(points, [&](const SweepPoint& other) {
      const bool better = other.area_mm2 < point.area_mm2 ||
                          other.tokens_per_s_total > point.tokens_per_s_total;
      return better && other.area_mm2 <= point.area_mm2 &&
             other.tokens_per_s_total >= point.tokens_per_s_total;
    });
  }
  return points;
}

CapacityStudy CapacityOf(const Model& model, const Inputs& inputs) {
  const Values values = inputs.Nominal();
  const Design& design = model.design();
  const Counts& counts = model.counts();
  const Figures figures = model.Evaluate(values);
  CapacityStudy study;
  double sram_mm2 = 0.0;  // of contexts and adapters
  for (const Block& block : figures.blocks) {
    if (block.kind == BlockKind::kRom) {
      study.rom_mm2 += block.area_mm2;
    }
  }
  const double per_mm2 = SramBitsPerMm2(values);
  sram_mm2 = (counts.cache_bits + counts.adapter_bits) / per_mm2;
  const double overhead = 1.0 + At(values, "overhead_fraction");
  const double area = figures.metrics[MetricIndex("area_mm2")];
  const auto chips = static_cast<double>(design.chips);
  const double fixed = area - sram_mm2 * overhead;
  study.fixed_mm2 = fixed / chips;
  const double room = std::max(0.0, At(values, "reticle_mm2") * chips - fixed) / overhead;
  const double room_bits = room * per_mm2;
  study.room_mib = room_bits / kMib;
  const model::Config& config = design.shape.config;
  const double blocks = static_cast<double>(config.n_kv_heads * ((config.head_dim + 31) / 32));
  const double position_bits =
      static_cast<double>(config.n_layers) *
      (static_cast<double>(config.kv_dim()) *
           (design.cache.key_bits + design.cache.value_bits) +
       2.0 * blocks * design.cache.block_bits);
  const auto slots = static_cast<double>(std::max<int64_t>(1, design.choices.adapter_slots));
  const double adapter_bits = counts.adapter_bits / slots;
  study.adapter_mib = adapter_bits / kMib;
  double packed = 0.0;
  for (const model::Role role : model::kBlockLinears) {
    const model::Shape shape = model::TensorShape(config, role);
    packed += static_cast<double>(shape.rows + shape.cols);
  }
  study.adapter_mib_16_bit = packed * static_cast<double>(config.n_layers) *
                             static_cast<double>(design.choices.adapter_rank) * 16.0 / kMib;
  const double own_context = static_cast<double>(design.choices.context) * position_bits;
  if (adapter_bits > 0.0) {
    study.adapters =
        static_cast<int64_t>(std::max(0.0, room_bits - own_context) / adapter_bits);
  }
  for (const int64_t context : {1024, 6144, 32768, 131072}) {
    Capacity capacity;
    capacity.context = context;
    const double bits = static_cast<double>(context) * position_bits;
    capacity.mib_per_user = bits / kMib;
    capacity.users =
        static_cast<int64_t>(std::max(0.0, room_bits - counts.adapter_bits) / bits);
    study.contexts.push_back(capacity);
  }
  study.users_sram_exceeds_rom =
      static_cast<int64_t>(study.rom_mm2 * per_mm2 / own_context) + 1;
  return study;
}

std::vector<VolumePoint> CostOverVolume(const Model& model, const Inputs& inputs) {
  Values values = inputs.Nominal();
  std::vector<VolumePoint> points;
  for (double volume = 100.0; volume <= 1e6; volume *= std::sqrt(10.0)) {
    values["volume_chips"] = volume;
    const Figures figures = model.Evaluate(values);
    points.push_back({volume, figures.metrics[MetricIndex("usd_per_mtoken")],
                      figures.metrics[MetricIndex("usd_per_mtoken_nre")]});
  }
  return points;
}

}  // namespace etch::chip
