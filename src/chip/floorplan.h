#pragma once

#include <string>
#include <vector>

#include "chip/estimate.h"

namespace etch::chip {

// A rectangle of a die, in mm from its lower left corner.
struct Place {
  std::string block;
  BlockKind kind = BlockKind::kLogic;
  double x = 0.0;
  double y = 0.0;
  double width = 0.0;
  double height = 0.0;
};

// Blocks in a square die, each with its share of the area (squarified treemap: Bruls, Huizing, van
// Wijk, 2000). Blocks without area are left out; over `chips` chips each has its part.
std::vector<Place> Floorplan(const std::vector<Block>& blocks, double chips);

// The same as SVG, `pixels` wide, with a bar of 5 mm (or what suits the die).
std::string FloorplanSvg(const std::vector<Place>& places, double pixels);

// "#rrggbb" of a kind.
std::string_view ColourOf(BlockKind kind);
std::string_view KindName(BlockKind kind);

}  // namespace etch::chip
