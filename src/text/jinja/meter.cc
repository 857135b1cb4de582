#include "text/jinja/meter.h"

namespace etch::jinja {

Status Meter::Step(int64_t count) {
  steps_ += count;
  if (steps_ > limits_.max_steps) {
    return Fail(ErrorCode::kNoSpace, "the template takes more than {} steps", limits_.max_steps);
  }
  return {};
}

Status Meter::Take(size_t bytes) {
  if (bytes > static_cast<size_t>(limits_.max_value_bytes) ||
      live_bytes_ + static_cast<int64_t>(bytes) > limits_.max_value_bytes) {
    return Fail(ErrorCode::kNoSpace, "the values of the template take more than {} bytes",
                limits_.max_value_bytes);
  }
  ETCH_TRY(Step(static_cast<int64_t>(bytes / kCopiesPerStep)));
  live_bytes_ += static_cast<int64_t>(bytes);
  return {};
}

Result<Charge> Charge::Take(Meter& meter, size_t bytes) {
  Charge charge;
  ETCH_TRY(charge.Grow(meter, bytes));
  return charge;
}

Status Charge::Grow(Meter& meter, size_t bytes) {
  ETCH_TRY(meter.Take(bytes));
  meter_ = &meter;
  bytes_ += bytes;
  return {};
}

}  // namespace etch::jinja
