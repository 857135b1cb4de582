// The two limits by instruction set and by where the data lies: how far plain C++ is from what the
// machine can do, and what a kernel gains whose data stays in a cache.

#include "engine/limits_bench.h"

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "engine/limits_kernels.h"

namespace etch::engine::bench {
namespace {

void Read(benchmark::State& state, const LimitKernels* kernels) {
  const auto size = static_cast<size_t>(state.range(0)) << 10;
  std::vector<std::byte> memory(size + 64, std::byte{1});
  void* aligned = memory.data();
  size_t space = memory.size();
  const auto* data = static_cast<const std::byte*>(std::align(64, size, aligned, space));
  for (auto _ : state) {
    benchmark::DoNotOptimize(kernels->read(data, size));
  }
  ReportRead(state, static_cast<double>(size));
}

void Int8(benchmark::State& state, const LimitKernels* kernels) {
  constexpr int64_t kRounds = 1000;
  for (auto _ : state) {
    benchmark::DoNotOptimize(kernels->int8(kRounds, 3, -5));
  }
  ReportInt8(state, 2.0 * kRounds * static_cast<double>(kernels->int8_macs));
}

const bool kRegistered = [] {
  for (const LimitKernels* const* set = AvailableLimitKernels(); *set != nullptr; ++set) {
    const std::string isa = (*set)->isa;
    benchmark::RegisterBenchmark(("Read/" + isa).c_str(), Read, *set)
        ->ArgName("KiB")
        ->Arg(16)
        ->Arg(256)
        ->Arg(8 << 10)
        ->Arg(256 << 10);
    benchmark::RegisterBenchmark(("Int8/" + isa).c_str(), Int8, *set);
  }
  return true;
}();

}  // namespace
}  // namespace etch::engine::bench
