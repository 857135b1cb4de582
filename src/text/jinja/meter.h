#pragma once

// What one render may use, and what it has used so far. Every value and every builder of text is
// charged here, so a hostile template ends in one error of kind kNoSpace, early.

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "base/error.h"

namespace etch::jinja {

struct Limits {
  int64_t max_steps;         // evaluated nodes, and the bytes that operations read, scaled
  int64_t max_output_bytes;  // of the finished text
  int64_t max_value_bytes;   // all texts, lists and dicts alive at once, roughly
  int max_depth;             // nesting of expressions, calls, blocks, and of values in values
};

class Meter {
 public:
  explicit Meter(const Limits& limits) : limits_(limits) {}
  Meter(const Meter&) = delete;
  Meter& operator=(const Meter&) = delete;

  // Counts evaluated nodes. All three fail with kNoSpace.
  Status Step(int64_t count = 1);
  // Counts bytes that an operation looks at one by one.
  Status Read(size_t bytes) { return Step(static_cast<int64_t>(bytes / kBytesPerStep)); }
  // Counts bytes that come alive; Give returns them.
  Status Take(size_t bytes);
  void Give(size_t bytes) { live_bytes_ -= static_cast<int64_t>(bytes); }

  const Limits& limits() const { return limits_; }

 private:
  static constexpr size_t kBytesPerStep = 32;     // of work per byte
  static constexpr size_t kCopiesPerStep = 1024;  // of copying

  Limits limits_;
  int64_t steps_ = 0;
  int64_t live_bytes_ = 0;
};

// Bytes taken from a meter, given back on destruction. Move-only; the meter outlives it. Empty for
// constants of the template, which its source pays for.
class Charge {
 public:
  Charge() = default;
  static Result<Charge> Take(Meter& meter, size_t bytes);
  Charge(Charge&& other) noexcept
      : meter_(std::exchange(other.meter_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  Charge& operator=(Charge&& other) noexcept {
    std::swap(meter_, other.meter_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~Charge() {
    if (meter_ != nullptr) {
      meter_->Give(bytes_);
    }
  }

  // Takes more. The charge belongs to `meter` already, or is empty.
  Status Grow(Meter& meter, size_t bytes);

 private:
  Meter* meter_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace etch::jinja
