#include "cli/tune/estimate.h"

#include <fmt/format.h>

#include <bit>

#include "base/memory.h"
#include "model/tensors.h"
#include "tune/matrix.h"
#include "tune/network.h"

namespace etch::cli {
namespace {

constexpr double kSpeedShare = 0.5;  // of the measured peak; see docs/performance.md

int64_t BytesOf(const model::Config& config, const RunSize& size, bool recompute) {
  // Values, two moments, and a gradient for each level of the sum over passes.
  const int64_t levels =
      1 + std::bit_width(static_cast<uint64_t>(std::max<int64_t>(1, size.passes_per_step) - 1));
  const int64_t state = size.parameters * static_cast<int64_t>(sizeof(float)) * (3 + levels);
  constexpr int64_t kScratch = int64_t{64} << 20;  // unpacked weights, threads, the program
  return size.image_bytes + state + kScratch +
         tune::Network::PassBytes(config, size.pass_tokens, size.pass_targets, recompute);
}

}  // namespace

Result<Estimate> EstimateRun(const model::Config& config, const RunSize& size,
                             const std::string& recompute, ThreadPool& pool) {
  const auto available = static_cast<int64_t>(AvailableMemoryBytes());
  Estimate estimate;
  estimate.recompute = recompute == "on";
  if (recompute == "auto" && available > 0) {
    estimate.recompute = BytesOf(config, size, false) > available / 3 * 2;
  }
  estimate.bytes = BytesOf(config, size, estimate.recompute);
  if (available > 0 && estimate.bytes > available) {
    return Fail(ErrorCode::kNoSpace,
                "the run needs about {}, {} are free; a shorter --length, fewer --pass-tokens{} "
                "need less",
                HumanBytes(static_cast<double>(estimate.bytes)),
                HumanBytes(static_cast<double>(available)),
                estimate.recompute ? " or a lower --rank" : " or --recompute on");
  }
  const double weights = static_cast<double>(model::ParameterCount(config));
  const double passes = size.all_weights ? 6.0 : estimate.recompute ? 6.0 : 4.0;
  const double operations = passes * weights * static_cast<double>(size.run_tokens);
  estimate.seconds = operations / (1e9 * kSpeedShare * tune::MeasureMatrixPeak(pool));
  return estimate;
}

}  // namespace etch::cli
