// What is in a chip and what a token moves.

#include <algorithm>

#include "chip/estimate.h"

namespace etch::chip {
namespace {

using plan::Operation;

constexpr double kGroup = 32.0;

double AsDouble(int64_t value) { return static_cast<double>(value); }

int64_t BlocksOf(int64_t codes) { return (codes + 31) / 32; }

bool IsFeedForward(model::Role role) {
  return role == model::Role::kGate || role == model::Role::kUp || role == model::Role::kDown;
}

// Weights of a matrix, whole groups; bits of one and of its groups' parameters.
double WeightsOf(const plan::MatrixPlace& place) {
  return AsDouble(place.rows) * AsDouble(place.groups()) * kGroup;
}

double CodeBits(const Design& design, bool w6) { return w6 ? 6.0 : design.weights.code_bits; }

double GroupBits(const Design& design) {
  return design.weights.group_bits / AsDouble(design.weights.group);
}

void AddMask(const Design& design, const plan::HardwarePlan& plan, Counts& counts) {
  for (const plan::MatrixPlace& place : plan.matrices) {
    const double held = IsFeedForward(place.role) ? design.experts : 1.0;
    const double weights = WeightsOf(place) * held;
    const double bits = weights * CodeBits(design, place.w6);
    if (place.role == model::Role::kTokenEmbedding) {
      counts.embedding_bits += bits;
    } else if (place.role == model::Role::kHead) {
      counts.head_bits += bits;
    } else {
      counts.layer_bits += bits;
    }
    counts.weights += weights;
    counts.group_bits += weights * GroupBits(design);
    counts.table_bits += AsDouble(place.rows) * held * design.weights.row_bits;
  }
  // Gains of norms; rotations of high and low positions, sine and cosine of 32 bits; sigmoid,
  // exp2 and rsqrt tables of the fabric.
  constexpr double kGainBits = 24.0;
  constexpr double kFunctionBits = 512 * 34 + 64 * 50 + 256 * 31;
  const model::Config& config = plan.fabric.config;
  const double rotations =
      AsDouble(config.head_dim / 2) * AsDouble(256 + (plan.fabric.choices.context + 255) / 256);
  counts.table_bits += kGainBits * AsDouble(plan.gain_words) + 64.0 * rotations + kFunctionBits;
}

// Of one position of one layer.
double CacheBits(const Design& design, const model::Config& config) {
  const double blocks = AsDouble(config.n_kv_heads * BlocksOf(config.head_dim));
  const double codes = AsDouble(config.kv_dim());
  return codes * (design.cache.key_bits + design.cache.value_bits) +
         2.0 * blocks * design.cache.block_bits;
}

void AddMemories(const Design& design, const plan::HardwarePlan& plan, Counts& counts) {
  const plan::Fabric& fabric = plan.fabric;
  const plan::Choices& choices = fabric.choices;
  counts.position_bits = CacheBits(design, fabric.config) * AsDouble(fabric.config.n_layers);
  if (design.cache.on_chip) {
    counts.cache_bits =
        counts.position_bits * AsDouble(choices.context) * AsDouble(choices.sessions);
  }
  counts.adapter_bits = AsDouble(choices.adapter_slots) *
                        (AsDouble(fabric.slot_words) * kGroup * design.adapter_bits +
                         AsDouble(fabric.slot_rows) * design.weights.row_bits);
  // Work memory, codes of the input and scores of the heads that are worked on at once, a stage.
  const double heads = AsDouble(std::min(fabric.config.n_heads, choices.attention_width));
  counts.work_bits = AsDouble(choices.stages) * (32.0 * AsDouble(fabric.work_words) +
                                                 16.0 * AsDouble(fabric.input_words + fabric.rank) +
                                                 32.0 * heads * AsDouble(choices.context));
}

void AddUnits(const Design& design, const plan::HardwarePlan& plan, Counts& counts) {
  const plan::Choices& choices = plan.fabric.choices;
  const double stages = AsDouble(choices.stages);
  if (design.weights.rom != RomKind::kSpatial) {
    counts.lanes = stages * AsDouble(choices.lanes) * AsDouble(design.prompt_batch);
  }
  counts.adapter_lanes = choices.adapter_slots > 0 ? stages * AsDouble(choices.adapter_lanes) : 0.0;
  counts.vector_elements = stages * AsDouble(choices.vector_width);
  counts.attention_blocks = stages * AsDouble(choices.attention_width);
}

// Elements that pass through the unit of a step.
double VectorSteps(const plan::HardwarePlan& plan, const plan::Step& step) {
  switch (step.operation) {
    case Operation::kEmbed:
      return kGroup * AsDouble(step.groups);
    case Operation::kNorm:
      return 3.0 * AsDouble(step.n);
    case Operation::kQuantise:
      return 2.0 * AsDouble(step.n);
    case Operation::kRope:
      return AsDouble(step.n * plan.fabric.config.head_dim);
    case Operation::kResidual:
      return AsDouble(step.n);
    default:
      return 0.0;
  }
}

void AddToken(const Design& design, const plan::HardwarePlan& plan, Counts& counts) {
  const model::Config& config = plan.fabric.config;
  const int64_t position = design.use.prompt - 1 + design.use.output / 2;
  const double keys = AsDouble(position + 1);
  // Query heads of a group read the same keys, where they are worked on at once.
  const bool shared = plan.fabric.choices.attention_width >= config.n_heads;
  const double cache_readings =
      shared ? 1.0 : AsDouble(config.n_heads) / AsDouble(config.n_kv_heads);
  for (const plan::Step& step : plan.steps) {
    if (step.adapter_only && !design.use.adapter) {
      continue;
    }
    const double products = AsDouble(step.n) * AsDouble(step.groups) * kGroup;
    counts.vector_steps += VectorSteps(plan, step);
    if (step.operation == Operation::kBase) {
      counts.products += products;
      counts.lane_steps += products * AsDouble(plan::ColumnSteps(step));
      const double readings = step.a16 ? 2.0 : 1.0;
      counts.weight_bits += products * (CodeBits(design, step.w6) * readings + GroupBits(design));
    } else if (step.operation == Operation::kAdapter) {
      counts.adapter_products += products;
    } else if (step.operation == Operation::kAttend) {
      counts.attention_steps += 2.0 * AsDouble(config.n_heads * BlocksOf(config.head_dim)) * keys;
      counts.cache_read_bits += CacheBits(design, config) * keys * cache_readings;
    }
  }
  counts.cycles = AsDouble(plan::TokenCycles(plan, position, design.use.adapter, true));
}

}  // namespace

Counts CountsOf(const Design& design, const plan::HardwarePlan& plan) {
  Counts counts;
  AddMask(design, plan, counts);
  AddMemories(design, plan, counts);
  AddUnits(design, plan, counts);
  AddToken(design, plan, counts);
  return counts;
}

}  // namespace etch::chip
