// Workers sleep on a futex (std::atomic::wait) between loops and take chunks of work from a shared
// counter, so a core that is taken away by another program slows a loop down but never stalls it.

#include "base/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <system_error>
#include <thread>
#include <vector>

#include "base/error.h"

namespace etch {

struct ThreadPool::State {
  std::vector<std::thread> workers;
  std::atomic<uint32_t> epoch = 0;  // raised to start a loop
  std::atomic<int> running = 0;     // workers that have not finished the present loop
  std::atomic<bool> stopping = false;
  std::atomic<int64_t> next = 0;
  int64_t count = 0;
  int64_t chunk = 1;
  const std::function<void(int64_t, int64_t)>* body = nullptr;

  void RunChunks() {
    while (true) {
      const int64_t begin = next.fetch_add(chunk, std::memory_order_relaxed);
      if (begin >= count) {
        return;
      }
      (*body)(begin, std::min(begin + chunk, count));
    }
  }

  void Work() {
    uint32_t seen = 0;
    while (true) {
      epoch.wait(seen, std::memory_order_acquire);
      seen = epoch.load(std::memory_order_acquire);
      if (stopping.load(std::memory_order_acquire)) {
        return;
      }
      RunChunks();
      if (running.fetch_sub(1, std::memory_order_acq_rel) == 1) {
        running.notify_one();
      }
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
  state_->stopping.store(true, std::memory_order_release);
  state_->epoch.fetch_add(1, std::memory_order_release);
  state_->epoch.notify_all();
  for (std::thread& worker : state_->workers) {
    worker.join();
  }
}

int ThreadPool::threads() const { return static_cast<int>(state_->workers.size()) + 1; }

void ThreadPool::ParallelFor(int64_t count, int64_t grain,
                             const std::function<void(int64_t, int64_t)>& body) {
  ETCH_CHECK(grain >= 1, "grain is {}", grain);
  if (count <= 0) {
    return;
  }
  if (state_->workers.empty() || count <= grain) {
    body(0, count);
    return;
  }
  constexpr int64_t kChunksPerThread = 4;
  const int64_t chunks = kChunksPerThread * threads();
  const int64_t grains = (count - 1) / grain + 1;
  state_->chunk = std::max<int64_t>(1, grains / chunks) * grain;
  state_->count = count;
  state_->body = &body;
  state_->next.store(0, std::memory_order_relaxed);
  state_->running.store(static_cast<int>(state_->workers.size()), std::memory_order_relaxed);
  state_->epoch.fetch_add(1, std::memory_order_release);
  state_->epoch.notify_all();
  state_->RunChunks();
  for (int left = state_->running.load(std::memory_order_acquire); left != 0;
       left = state_->running.load(std::memory_order_acquire)) {
    state_->running.wait(left, std::memory_order_acquire);
  }
}

}  // namespace etch
