// One word of 64 bits is the whole state of the present loop: its number in the upper half, the
// chunks not yet taken in the lower. A thread takes a chunk by lowering that word in one
// compare-and-swap, so it can never take a chunk of another loop than the one it has seen, and a
// loop is over when its chunks are done, not when every worker has reported. A worker whose core
// was taken away by another program therefore holds up a loop by the one chunk it is in, and none
// at all when it sleeps; it joins again whenever it comes back.
//
// Between loops workers watch the word for kSpin and then sleep on a futex (std::atomic::wait). The
// caller watches for the last chunks in the same way, then gives its core away.
//
// Rejected: a barrier of all workers (every loop then waits for the slowest thread to be
// scheduled), and one fixed part for each thread (a core at half speed halves the whole).

#include "base/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <system_error>
#include <thread>
#include <vector>

#include "base/error.h"

namespace etch {
namespace {

constexpr std::chrono::microseconds kSpin{60};
constexpr int64_t kChunksPerThread = 12;

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// Watches until `done`; false when kSpin has passed.
template <class Condition>
bool Spin(const Condition& done) {
  constexpr int kLooksPerClock = 64;
  const auto until = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int look = 0; look < kLooksPerClock; ++look) {
      if (done()) {
        return true;
      }
      Pause();
    }
  } while (std::chrono::steady_clock::now() < until);
  return false;
}

}  // namespace

struct ThreadPool::State {
  // A loop as its chunks see it. Written while no chunk is to be had, read by whoever has taken
  // one: the loop cannot end before that chunk is done.
  struct Loop {
    Call call{};
    int64_t count = 0;
    int64_t chunk = 1;
    uint32_t chunks = 0;
  };

  std::vector<std::thread> workers;
  Loop loop;
  // Separate lines, so that taking chunks does not disturb who waits for the end.
  alignas(64) std::atomic<uint64_t> word = 0;   // loop number << 32 | chunks not yet taken
  alignas(64) std::atomic<uint32_t> left = 0;   // chunks not yet done
  alignas(64) std::atomic<uint32_t> epoch = 0;  // raised with every loop: what sleepers wait on
  std::atomic<int> sleepers = 0;
  std::atomic<bool> stopping = false;

  // Takes and runs chunks until there are none.
  void RunChunks() {
    uint64_t seen = word.load(std::memory_order_acquire);
    while (static_cast<uint32_t>(seen) != 0) {
      if (!word.compare_exchange_weak(seen, seen - 1, std::memory_order_acquire,
                                      std::memory_order_acquire)) {
        continue;
      }
      const int64_t begin = int64_t{loop.chunks - static_cast<uint32_t>(seen)} * loop.chunk;
      loop.call(begin, std::min(begin + loop.chunk, loop.count));
      if (left.fetch_sub(1, std::memory_order_acq_rel) == 1) {
        left.notify_one();
      }
      seen = word.load(std::memory_order_acquire);
    }
  }

  bool HasWork() const {
    return static_cast<uint32_t>(word.load(std::memory_order_relaxed)) != 0 ||
           stopping.load(std::memory_order_relaxed);
  }

  void Work() {
    while (!stopping.load(std::memory_order_acquire)) {
      if (!Spin([this] { return HasWork(); })) {
        const uint32_t now = epoch.load(std::memory_order_seq_cst);
        sleepers.fetch_add(1, std::memory_order_seq_cst);
        if (!HasWork()) {
          epoch.wait(now, std::memory_order_seq_cst);
        }
        sleepers.fetch_sub(1, std::memory_order_seq_cst);
      }
      RunChunks();
    }
  }

  void Wake() {
    epoch.fetch_add(1, std::memory_order_seq_cst);
    if (sleepers.load(std::memory_order_seq_cst) > 0) {
      epoch.notify_all();
    }
  }
};

ThreadPool::ThreadPool(int threads) : state_(std::make_unique<State>()) {
  if (threads <= 0) {
    cpu_set_t set;
    threads = ::sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  }
  for (int worker = 1; worker < threads; ++worker) {
    try {
      state_->workers.emplace_back([this] { state_->Work(); });
    } catch (const std::system_error&) {
      break;
    }
  }
}

ThreadPool::~ThreadPool() {
  state_->stopping.store(true, std::memory_order_seq_cst);
  state_->epoch.fetch_add(1, std::memory_order_seq_cst);
  state_->epoch.notify_all();
  for (std::thread& worker : state_->workers) {
    worker.join();
  }
}

int ThreadPool::threads() const { return static_cast<int>(state_->workers.size()) + 1; }

void ThreadPool::Run(int64_t count, int64_t grain, const Call& call) {
  ETCH_CHECK(grain >= 1, "grain is {}", grain);
  if (count <= 0) {
    return;
  }
  State& state = *state_;
  if (state.workers.empty() || count <= grain) {
    call(0, count);
    return;
  }
  const int64_t grains = (count - 1) / grain + 1;
  const int64_t chunk = std::max<int64_t>(1, grains / (kChunksPerThread * threads())) * grain;
  const auto chunks = static_cast<uint32_t>((count - 1) / chunk + 1);
  state.loop = {call, count, chunk, chunks};
  state.left.store(chunks, std::memory_order_relaxed);
  const uint64_t number = (state.word.load(std::memory_order_relaxed) >> 32) + 1;
  state.word.store(number << 32 | chunks, std::memory_order_seq_cst);
  state.Wake();
  state.RunChunks();
  while (!Spin([&state] { return state.left.load(std::memory_order_acquire) == 0; })) {
    // A worker's core was taken away in the middle of a chunk: give it this one.
    const uint32_t left = state.left.load(std::memory_order_acquire);
    if (left != 0) {
      state.left.wait(left, std::memory_order_acquire);
    }
  }
}

}  // namespace etch
