#pragma once

// A fixed set of threads that run one parallel loop at a time. The split of the work never changes
// a result: every integer backend gives the same bits for any number of threads.

#include <cstdint>
#include <functional>
#include <memory>

namespace etch {

class ThreadPool {
 public:
  // `threads` ≥ 1 counts the calling thread; 0 means one for each processor that this process may
  // use. Fewer are started when the system refuses more: threads() says how many there are.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const;

  // Calls body(begin, end) on disjoint ranges that cover [0, count), each a multiple of `grain`
  // long but the last, and returns when all are done. `grain` ≥ 1. `body` must not throw. Not
  // reentrant; one caller at a time.
  void ParallelFor(int64_t count, int64_t grain, const std::function<void(int64_t, int64_t)>& body);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace etch
