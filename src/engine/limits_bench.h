#pragma once

// What the benches of the engine share: each reports bytes or operations a second and which
// fraction of the machine's limit that is, measured in the same process. For `x_bench.cc` files
// only.
//
//   void MultiplyW3(benchmark::State& state) {
//     for (auto _ : state) { … }
//     ReportRead(state, weight_bytes);              // "GB/s" and "of_read"
//     ReportInt8(state, 2.0 * rows * cols * batch); // "Gop/s" and "of_int8"
//   }
//
// Rates are for each second of the calling thread's processor time, which other programs do not
// stretch. A bench that uses a thread pool is registered with UseRealTime().

#include <benchmark/benchmark.h>

#include "engine/limits.h"

namespace etch::engine::bench {

// The limits of `threads` threads, measured once a process for each number of threads in turn.
inline const Limits& LimitsOf(int threads) {
  static Limits limits;
  if (limits.threads != threads) {
    limits = MeasureLimits(threads);
    limits.threads = threads;
  }
  return limits;
}

// A counter that is `amount` an iteration, shown for each second.
inline benchmark::Counter RateOf(double amount) {
  return {amount, benchmark::Counter::kIsIterationInvariantRate};
}

// `bytes` are read in one iteration by `threads` threads together.
inline void ReportRead(benchmark::State& state, double bytes, int threads = 1) {
  const double limit = LimitsOf(threads).read_gb_s * 1e9;
  state.counters["GB/s"] = RateOf(bytes / 1e9);
  state.counters["of_read"] = RateOf(limit > 0.0 ? bytes / limit : 0.0);
}

// `operations` are the multiplies and adds of 8-bit values in one iteration.
inline void ReportInt8(benchmark::State& state, double operations, int threads = 1) {
  state.counters["Gop/s"] = RateOf(operations / 1e9);
  state.counters["of_int8"] = RateOf(operations / (LimitsOf(threads).int8_gop_s * 1e9));
}

}  // namespace etch::engine::bench
