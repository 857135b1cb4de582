#pragma once

// Questions about a design that are answered by estimating others like it: how speed depends on
// users and context, which lanes and layers in flight are worth their area, what the SRAM holds,
// and what a number of chips sold does to the price.

#include <cstdint>
#include <vector>

#include "chip/ranges.h"

namespace etch::chip {

struct SpeedPoint {
  int64_t users = 1;
  int64_t context = 0;  // tokens that a user has when the middle one of its answer is drawn
  double tokens_per_s_user = 0.0;
  double tokens_per_s_total = 0.0;
};
// A user's tokens at growing contexts, and growing numbers of users at the design's use.
std::vector<SpeedPoint> SpeedOverContext(const Model& model, const Inputs& inputs);
std::vector<SpeedPoint> SpeedOverUsers(const Model& model, const Inputs& inputs);

struct SweepPoint {
  int64_t lanes = 0;  // a stage
  int64_t stages = 0;
  double area_mm2 = 0.0;
  double tokens_per_s_user = 0.0;
  double tokens_per_s_total = 0.0;  // with as many users as stages
  double card_w = 0.0;
  bool best = false;  // no other point has less area and more tokens/s of all users
};
// Lanes a quarter to four times the design's, layers in flight 1 to all, by powers of two.
std::vector<SweepPoint> Sweep(const Design& design, const Inputs& inputs);

// What the SRAM that is left beside everything else in a reticle holds.
struct Capacity {
  int64_t context = 0;
  double mib_per_user = 0.0;
  int64_t users = 0;  // in the room that the reticle leaves
};
struct CapacityStudy {
  double fixed_mm2 = 0.0;  // the chip without contexts and adapters, a chip
  double room_mib = 0.0;   // of SRAM that fits into the rest of the reticle, all chips
  double adapter_mib = 0.0;  // of one adapter of the design's rank at all linear layers
  double adapter_mib_16_bit = 0.0;  // the same, packed, in 16 bits a weight
  int64_t adapters = 0;    // that fit beside one user at the design's context
  std::vector<Capacity> contexts;  // 1k, 6k, 32k, 128k
  double rom_mm2 = 0.0;
  // Users of the design's context at which SRAM takes more area than ROM.
  int64_t users_sram_exceeds_rom = 0;
};
CapacityStudy CapacityOf(const Model& model, const Inputs& inputs);

struct VolumePoint {
  double chips = 0.0;
  double usd_per_mtoken = 0.0;      // with a respin, without the fabric
  double usd_per_mtoken_nre = 0.0;  // with both
};
std::vector<VolumePoint> CostOverVolume(const Model& model, const Inputs& inputs);

}  // namespace etch::chip
