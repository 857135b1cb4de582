#pragma once

// Adapters that a request names and that may have to be brought into memory first. The scheduler
// claims them when it admits the request; whoever keeps them (serve/registry.h) loads them on a
// thread of its own.

#include <cstdint>
#include <memory>

#include "base/error.h"
#include "engine/adapter_weights.h"

namespace etch::engine {

// While a claim lives, its adapter is in memory or on its way there, and counted in the budget.
class AdapterClaim {
 public:
  virtual ~AdapterClaim() = default;
  // Null while the adapter is on its way; an error when it cannot be loaded. What it points to
  // lives as long as the claim. Thread-safe.
  virtual Result<const AdapterWeights*> Weights() const = 0;
};

class AdapterSource {
 public:
  virtual ~AdapterSource() = default;
  // Bytes of the budget that the adapter takes beside what is held for good: 0 for a pinned one.
  virtual int64_t size_bytes() const = 0;
  // Null when the budget has no room for it now. The budget's listener hears when it has arrived.
  virtual std::shared_ptr<const AdapterClaim> Claim() = 0;
};

// An adapter as a request names it.
struct RequestedAdapter {
  std::shared_ptr<AdapterSource> source;  // shared: its keeper may forget it while requests wait
  int32_t weight_q16 = 1 << 16;
};

}  // namespace etch::engine
