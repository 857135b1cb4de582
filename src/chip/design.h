#pragma once

// A chip to be estimated: a model, how its weights lie in the mask, and what an architect chose. A
// design comes from an image, from a preset (data/chip/presets) or from a file of the same form.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "chip/quantity.h"
#include "image/image.h"
#include "plan/hardware_plan.h"

namespace etch::chip {

// Via-programmed cells; standard cells synthesised from the weights; or adders of its own for every
// weight (sums by weight value, inputs a bit at a time), which need no lanes.
enum class RomKind { kMask, kLogic, kSpatial };

// How weights lie in the mask. The default is the image's W3: 3 bits, 6 more a group of 32.
struct WeightStorage {
  double code_bits = 3.0;  // of a weight; matrices that the plan has as W6 have 6
  double entropy_bits = 0.0;  // of a weight, where less than code_bits is known; 0: code_bits
  int64_t group = 32;
  double group_bits = 6.0;
  double row_bits = 24.0;
  RomKind rom = RomKind::kMask;
};

// How a context lies in SRAM.
struct CacheStorage {
  double key_bits = 14.0;  // of a code
  double value_bits = 8.0;
  double block_bits = 5.0;  // a block of 32 codes: its exponent
  bool on_chip = true;      // else the context is in memory beside the chip, and not counted
};

// The use that speed, energy and price are stated for.
struct Use {
  int64_t users = 1;
  int64_t prompt = 1024;
  int64_t output = 1024;
  bool adapter = false;
  bool swap = false;  // each user's adapter is uploaded first, one after the other
};

// Why something was chosen that no published source says.
struct Assumption {
  std::string what;
  std::string why;
};

struct Design {
  std::string name;
  std::string title;
  std::string model;       // "Llama 3.1 8B"
  std::string technology;  // a name of data/tech or a path
  plan::ModelShape shape;
  double experts = 1.0;  // feed-forward weights that are held for each that a token uses
  WeightStorage weights;
  CacheStorage cache;
  plan::Choices choices;
  double adapter_bits = 8.0;  // of a weight
  int64_t prompt_batch = 1;   // prompt tokens that share a reading of the weights
  int64_t chips = 0;          // 0: as many as the reticle asks for
  double voltage = 0.0;       // 0: the technology's
  Use use;
  std::vector<Quantity> replaced;  // quantities that this design has of its own
  std::vector<Assumption> assumptions;
};

// The chip that `etch rtl` writes of an image.
Result<Design> DesignOf(const image::Image& image, const std::string& name,
                        const plan::Choices& choices);
// kMalformed naming `origin` and the field.
Result<Design> ParseDesign(std::string_view json, std::string_view origin);
// A preset's name or the path of a .json file.
Result<Design> LoadDesign(const std::string& name);

}  // namespace etch::chip
