#pragma once

// The silicon model: what a design would measure, draw and cost. Pure arithmetic over a plan, a
// design and named quantities; docs/silicon-model.md gives every formula.

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "chip/design.h"
#include "chip/inputs.h"
#include "chip/pipeline.h"

namespace etch::chip {

// What is in a chip and what a token moves, without a technology: counts that can be checked by
// hand. Over all chips of the model.
struct Counts {
  double weights = 0.0;  // held, whole groups, norms and scales not counted
  // Bits in the mask.
  double embedding_bits = 0.0;
  double layer_bits = 0.0;
  double head_bits = 0.0;   // 0 when tied
  double group_bits = 0.0;  // parameters of groups
  double table_bits = 0.0;  // row scales, norms' gains, rotations, function tables
  // Bits in SRAM.
  double cache_bits = 0.0;    // contexts of all users
  double adapter_bits = 0.0;  // all slots
  double work_bits = 0.0;
  double position_bits =
      0.0;  // a token of one user's context, all layers; on the chip or beside it
  // Units, over all stages.
  double lanes = 0.0;
  double adapter_lanes = 0.0;
  double vector_elements = 0.0;
  double attention_blocks = 0.0;
  // A token after which one is drawn, at Use's middle position, with Use's adapter.
  double products = 0.0;     // weights of the base times an input
  double lane_steps = 0.0;   // for them: more where codes have planes or inputs bytes
  double weight_bits = 0.0;  // read for them; codes once a byte of the input
  double adapter_products = 0.0;
  double vector_steps = 0.0;     // elements that pass a vector unit
  double attention_steps = 0.0;  // blocks of 32 products
  double cache_read_bits = 0.0;
  double cycles = 0.0;  // of all stages, one after the other

  double rom_bits() const {
    return embedding_bits + layer_bits + head_bits + group_bits + table_bits;
  }
  double sram_bits() const { return cache_bits + adapter_bits + work_bits; }
};

enum class BlockKind { kRom, kSram, kLogic, kPort, kOverhead };

// A part of the chip; areas and energies of blocks add up to the chip's.
struct Block {
  std::string name;
  BlockKind kind = BlockKind::kLogic;
  double area_mm2 = 0.0;  // of all chips
  double transistors = 0.0;
  double energy_nj = 0.0;  // a token, without leakage
  double leakage_w = 0.0;
};

struct MetricInfo {
  std::string_view name;  // in --json: "area_mm2"
  std::string_view unit;
  std::string_view title;  // "die area"
};
// In the order of Figures::metrics.
std::span<const MetricInfo> Metrics();

struct Figures {
  std::vector<Block> blocks;
  std::vector<double> metrics;
};
// Index of a metric by name; the name must exist.
size_t MetricIndex(std::string_view name);

// Counts of a plan for a design.
Counts CountsOf(const Design& design, const plan::HardwarePlan& plan);

// A design ready to be evaluated any number of times.
class Model {
 public:
  // Settles how many chips there are, by the values that `inputs` state, and gives each a stage of
  // its own. kInvalidArgument when the design cannot be planned, or its use does not fit its
  // context.
  static Result<Model> Create(Design design, const Inputs& inputs);

  const Design& design() const { return design_; }  // choices and chips are settled
  const plan::HardwarePlan& plan() const { return plan_; }
  const Counts& counts() const { return counts_; }

  // With these values. Never negative, never not a number.
  Figures Evaluate(const Values& values) const;
  // The chip's work under the design's use, and under any other load.
  PipelineResult RunUse(const Values& values) const;
  PipelineResult Run(const Values& values, const Load& load) const;

 private:
  Model() = default;
  PipelineOptions OptionsFor(const Values& values) const;
  Load LoadFor(const Values& values) const;
  double SwapSeconds(const Values& values) const;  // upload of an adapter

  Design design_;
  plan::HardwarePlan plan_;
  Counts counts_;
  // Of the design's use, by cycles of a link and of an upload.
  mutable std::map<std::pair<int64_t, int64_t>, PipelineResult> runs_;
};

// Clock in GHz at the design's voltage (alpha-power law) and the factor on switching energy.
double ClockGhz(const Design& design, const Values& values);
double EnergyScale(const Design& design, const Values& values);

}  // namespace etch::chip
