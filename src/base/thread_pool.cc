// A loop is cut into one part a thread and each part into chunks. A part's state is one word of 64
// bits: the loop's number in the upper half, the chunks not yet taken in the lower. A thread takes
// a chunk by lowering that word in one compare-and-swap, so it can never take a chunk of another
// loop than the one it has seen. It takes its own part first, front to back, so that what it reads
// is one stream; then it helps with the others'. A loop is over when its chunks are done, not when
// every worker has reported: a worker whose core was taken away by another program holds up a loop
// by the one chunk it is in, and by none when it sleeps. It joins again whenever it comes back.
//
// Between loops workers watch for work for kSpin and then sleep on a futex (std::atomic::wait). The
// caller watches for the last chunks in the same way, then gives its core away.
//
// Rejected: a barrier of all workers (every loop then waits for the slowest thread to be
// scheduled), one fixed part for each thread without help (a core at half speed halves the whole),
// and one shared counter (every chunk then starts a new stream of reads).

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
constexpr int64_t kChunksPerThread = 16;

int64_t ChunkLength(int64_t grains, int64_t threads) {
  return std::max<int64_t>(1, grains / (kChunksPerThread * threads));
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
    int64_t chunk = 1;  // length
  };
  // A thread's part of the loop: chunks [end - left, end), `left` in the lower half of the word. On
  // a cache line of its own.
  struct alignas(64) Part {
    std::atomic<uint64_t> word = 0;
    int64_t end = 0;  // written and read as Loop
  };

  std::vector<std::thread> workers;
  std::vector<Part> parts;  // one a thread, the caller's first
  Loop loop;
  uint64_t number = 0;                          // of the present loop; the caller's
  alignas(64) std::atomic<int64_t> left = 0;    // chunks not yet done
  alignas(64) std::atomic<uint32_t> epoch = 0;  // raised with every loop: what sleepers wait on
  std::atomic<int> sleepers = 0;
  std::atomic<bool> stopping = false;

  // Takes and runs chunks of one part until there are none. A body that throws ends the program:
  // the others are still at work on what its caller holds.
  void RunPart(Part& part) noexcept {
    uint64_t seen = part.word.load(std::memory_order_acquire);
    while (static_cast<uint32_t>(seen) != 0) {
      if (!part.word.compare_exchange_weak(seen, seen - 1, std::memory_order_acquire,
                                           std::memory_order_acquire)) {
        continue;
      }
      const int64_t begin = (part.end - static_cast<uint32_t>(seen)) * loop.chunk;
      loop.call(begin, std::min(begin + loop.chunk, loop.count));
      if (left.fetch_sub(1, std::memory_order_acq_rel) == 1) {
        left.notify_one();
      }
      seen = part.word.load(std::memory_order_acquire);
    }
  }

  void RunChunks(size_t self) {
    for (size_t step = 0; step < parts.size(); ++step) {
      RunPart(parts[(self + step) % parts.size()]);
    }
  }

  bool HasWork() const {
    return stopping.load(std::memory_order_relaxed) ||
           std::any_of(parts.begin(), parts.end(), [](const Part& part) {
             return static_cast<uint32_t>(part.word.load(std::memory_order_relaxed)) != 0;
           });
  }

  void Work(size_t self) {
    while (!stopping.load(std::memory_order_acquire)) {
      if (!Spin([this] { return HasWork(); })) {
        const uint32_t now = epoch.load(std::memory_order_seq_cst);
        sleepers.fetch_add(1, std::memory_order_seq_cst);
        if (!HasWork()) {
          epoch.wait(now, std::memory_order_seq_cst);
        }
        sleepers.fetch_sub(1, std::memory_order_seq_cst);
      }
      RunChunks(self);
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
  // Parts of threads that the system refuses to start stay empty.
  state_->parts = std::vector<State::Part>(static_cast<size_t>(threads));
  for (int worker = 1; worker < threads; ++worker) {
    try {
      state_->workers.emplace_back([this, worker] { state_->Work(static_cast<size_t>(worker)); });
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

int64_t ThreadPool::PartLength(int64_t length) const {
  while (length % ChunkLength(length * threads(), threads()) != 0) {
    ++length;
  }
  return length;
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
  const int64_t chunk = ChunkLength(grains, threads()) * grain;
  const int64_t chunks = (count - 1) / chunk + 1;
  state.loop = {call, count, chunk};
  state.left.store(chunks, std::memory_order_relaxed);
  ++state.number;
  for (int64_t thread = 0; thread < threads(); ++thread) {
    State::Part& part = state.parts[static_cast<size_t>(thread)];
    const int64_t begin = chunks * thread / threads();
    part.end = chunks * (thread + 1) / threads();
    part.word.store(state.number << 32 | static_cast<uint64_t>(part.end - begin),
                    std::memory_order_seq_cst);
  }
  state.Wake();
  state.RunChunks(0);
  while (!Spin([&state] { return state.left.load(std::memory_order_acquire) == 0; })) {
    // A worker's core was taken away in the middle of a chunk: give it this one.
    const int64_t left = state.left.load(std::memory_order_acquire);
    if (left != 0) {
      state.left.wait(left, std::memory_order_acquire);
    }
  }
}

}  // namespace etch
