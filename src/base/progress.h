#pragma once

// Long work reports where it stands and asks whether to go on; it never prints. cli/ draws the
// line.

#include <cstdint>
#include <functional>
#include <string_view>

namespace etch {

struct ProgressUpdate {
  std::string_view phase;  // "reading", "quantizing blk.3.ffn_down.weight" …
  int64_t done = 0;        // in units of `total`
  int64_t total = 0;       // 0: unknown
  std::string_view unit;   // "bytes", "tokens", "weights"
};

// Called from the thread that does the work, at most a few times a second by contract of the
// callee's loop granularity. Returns false to ask for a stop: the work then ends with
// ErrorCode::kCancelled and leaves nothing behind.
using ProgressFn = std::function<bool(const ProgressUpdate&)>;

}  // namespace etch
