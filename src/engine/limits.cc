// Method. Reading: every thread runs through its own contiguous part of one region that is much
// larger than the last-level cache; all start together, a pass ends when the last one is through.
// The region is anonymous memory for which transparent huge pages are asked, so that translation
// costs nothing, and each thread writes its part first: pages lie near the thread that reads them,
// and none is the shared page of zeros, which would be read from the cache. Arithmetic: every
// thread runs chains of multiply-adds that touch no memory.
//
// Other programs only ever make a pass slower, so the best of several passes is nearest to the
// truth. A region that the engine happens to have mapped was not taken instead: its size differs
// from model to model, and page faults and small pages would be measured with it.

#include "engine/limits.h"

#include <sched.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "base/memory.h"
#include "engine/limits_kernels.h"

namespace etch::engine {
namespace {

using Clock = std::chrono::steady_clock;

constexpr uint64_t kPartMultiple = uint64_t{2} << 20;  // a huge page

struct Pass {
  double seconds = 0.0;
  int threads = 0;  // that ran
};

// Runs body(index) on `threads` threads that start together; the time is from the start to the end
// of the last one. Threads that the system refuses are left out.
Pass RunTogether(int threads, const std::function<void(int)>& body) {
  std::atomic<int> ready = 0;
  std::atomic<bool> go = false;
  std::vector<std::thread> others;
  for (int index = 1; index < threads; ++index) {
    try {
      others.emplace_back([&, index] {
        ready.fetch_add(1);
        while (!go.load()) {
          std::this_thread::yield();
        }
        body(index);
      });
    } catch (const std::system_error&) {
      break;
    }
  }
  while (ready.load() < static_cast<int>(others.size())) {
    std::this_thread::yield();
  }
  const Clock::time_point begin = Clock::now();
  go.store(true);
  body(0);
  for (std::thread& other : others) {
    other.join();
  }
  return {std::chrono::duration<double>(Clock::now() - begin).count(),
          static_cast<int>(others.size()) + 1};
}

int ProcessorCount() {
  cpu_set_t set;
  return ::sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

// 1 GiB, far above any last-level cache, or a quarter of the free memory if that is less. In builds
// for debugging and under sanitizers, which measure nothing of use, 64 MiB: the thread sanitizer
// takes four times a region of its own. The size of the cache is not asked for: on a virtual
// machine the C library answers with that of the whole processor.
uint64_t RegionBytes() {
#ifdef NDEBUG
  constexpr uint64_t kWanted = uint64_t{1} << 30;
#else
  constexpr uint64_t kWanted = uint64_t{64} << 20;
#endif
  const uint64_t available = AvailableMemoryBytes();
  return available == 0 ? kWanted : std::min(kWanted, available / 4);
}

// Memory that all threads read together, each a part of its own.
class Region {
 public:
  Region(int threads, uint64_t wanted)
      : threads_(threads),
        part_(wanted / static_cast<uint64_t>(threads) / kPartMultiple * kPartMultiple) {
    const uint64_t size = part_ * static_cast<uint64_t>(threads);
    if (size == 0) {
      return;
    }
    void* region = ::mmap(nullptr, size + kPartMultiple, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (region == MAP_FAILED) {
      return;
    }
    mapping_ = region;
    mapped_ = size + kPartMultiple;
    ::madvise(region, mapped_, MADV_HUGEPAGE);  // advice: read without it if refused
    size_t space = mapped_;
    data_ = static_cast<std::byte*>(std::align(kPartMultiple, size, region, space));
    RunTogether(threads, [&](int index) { std::memset(PartOf(index), index + 1, part_); });
  }
  ~Region() {
    if (mapping_ != nullptr) {
      ::munmap(mapping_, mapped_);
    }
  }
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;

  bool empty() const { return data_ == nullptr; }
  uint64_t size_bytes() const { return part_ * static_cast<uint64_t>(threads_); }

  // One pass: how many threads took part, and 10^9 bytes a second.
  std::pair<int, double> Read(const LimitKernels& kernels) {
    const Pass done = RunTogether(
        threads_, [&](int index) { sink_.fetch_xor(kernels.read(PartOf(index), part_)); });
    return {done.threads, static_cast<double>(part_) * done.threads / done.seconds / 1e9};
  }

 private:
  std::byte* PartOf(int index) { return data_ + part_ * static_cast<uint64_t>(index); }

  int threads_;
  uint64_t part_;
  void* mapping_ = nullptr;
  uint64_t mapped_ = 0;
  std::byte* data_ = nullptr;
  std::atomic<uint64_t> sink_ = 0;  // keeps the compiler from leaving the loads out
};

double MeasureRead(int threads, const LimitKernels& kernels, Limits& out) {
  constexpr int kPasses = 8;
  constexpr double kLongest = 1.2;  // seconds for all passes
  Region region(threads, RegionBytes());
  if (region.empty()) {
    return 0.0;
  }
  double best = 0.0;
  const Clock::time_point begin = Clock::now();
  for (int pass = 0; pass < kPasses; ++pass) {
    const auto [took_part, rate] = region.Read(kernels);
    best = std::max(best, rate);
    out.threads = took_part;
    out.read_bytes = region.size_bytes();
    if (std::chrono::duration<double>(Clock::now() - begin).count() > kLongest) {
      break;
    }
  }
  return best;
}

double MeasureInt8(int threads, const LimitKernels& kernels) {
  constexpr int kRuns = 12;
  constexpr double kRunSeconds = 0.03;
  constexpr double kLongest = 0.6;  // seconds for all runs
  // Rounds for one run, from a run that is long enough to time.
  std::atomic<uint32_t> sink = 0;
  int64_t rounds = 64;
  for (double seconds = 0.0; seconds < kRunSeconds / 4;) {
    rounds *= 2;
    const Clock::time_point begin = Clock::now();
    sink.fetch_add(kernels.int8(rounds, 3, -5));
    seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  }
  rounds *= 4;
  double best = 0.0;
  const Clock::time_point start = Clock::now();
  for (int run = 0; run < kRuns; ++run) {
    const Pass done =
        RunTogether(threads, [&](int) { sink.fetch_add(kernels.int8(rounds, 3, -5)); });
    const double macs = static_cast<double>(rounds) * static_cast<double>(kernels.int8_macs);
    best = std::max(best, 2.0 * macs * done.threads / done.seconds / 1e9);
    if (std::chrono::duration<double>(Clock::now() - start).count() > kLongest) {
      break;
    }
  }
  return best;
}

// At most one entry an instruction set, and the null pointer at the end.
std::array<const LimitKernels*, 4> FindKernels() {
  std::array<const LimitKernels*, 4> found{};
  size_t count = 0;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni") &&
      __builtin_cpu_supports("avx512vbmi")) {
    found[count++] = &kAvx512Limits;
  }
  if (__builtin_cpu_supports("avx2")) {
    found[count++] = &kAvx2Limits;
  }
#endif
  found[count] = &kGenericLimits;
  return found;
}

}  // namespace

const LimitKernels* const* AvailableLimitKernels() {
  static const std::array<const LimitKernels*, 4> kFound = FindKernels();
  return kFound.data();
}

struct ReadProbe::State {
  Region region;
};

ReadProbe::ReadProbe(int threads)
    : state_(new State{Region(threads > 0 ? threads : ProcessorCount(), RegionBytes() / 2)}) {}

ReadProbe::~ReadProbe() = default;

double ReadProbe::Measure() {
  return state_->region.empty() ? 0.0 : state_->region.Read(*AvailableLimitKernels()[0]).second;
}

uint64_t ReadProbe::size_bytes() const {
  return state_->region.empty() ? 0 : state_->region.size_bytes();
}

Limits MeasureLimits(int threads) {
  if (threads <= 0) {
    threads = ProcessorCount();
  }
  const LimitKernels& kernels = *AvailableLimitKernels()[0];
  Limits limits;
  limits.isa = kernels.isa;
  limits.threads = threads;
  limits.read_gb_s = MeasureRead(threads, kernels, limits);
  limits.int8_gop_s = MeasureInt8(threads, kernels);
  return limits;
}

}  // namespace etch::engine
