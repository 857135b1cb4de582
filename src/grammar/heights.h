#pragma once

// How flat the values of nodes can be, and which nodes have none.

#include "base/error.h"
#include "grammar/program.h"

namespace etch::grammar {

// Fills in the heights of values, arrays, objects and their classes.
Status FindHeights(Program& program, Budget& budget);

// Ends arrays before the first item that no value fits.
void CutArrays(Program& program);

inline bool HasClass(const ClassSet& set, uint32_t index) {
  return (set[index / 64] >> (index % 64) & 1) != 0;
}
inline void AddClass(ClassSet& set, uint32_t index) {
  set[index / 64] |= uint64_t{1} << (index % 64);
}

}  // namespace etch::grammar
