#pragma once

// Weights that stream from memory are asked for twice: far ahead into the second-level cache, which
// keeps enough reads under way to fill the memory's bandwidth, and near, into the first. The
// processor drops a request that finds too many under way, so that the far one alone leaves holes.
// Found by trial (EPYC, Zen 4; docs/performance.md): 0.97 to 0.98 of a plain read's speed with two
// threads, 0.89 to 0.90 with the far request alone; 16 to 24 KiB and 4 to 6 KiB do as well. AVX2
// has the near request only for many columns, which arithmetic binds.

#include <cstdint>

namespace etch::engine {

inline constexpr int64_t kFarBytes = 24576;
inline constexpr int64_t kNearBytes = 4096;

}  // namespace etch::engine
