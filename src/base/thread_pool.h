#pragma once

// A fixed set of threads that run one parallel loop at a time. The split of the work never changes
// a result: every integer backend gives the same bits for any number of threads.

#include <cstdint>
#include <memory>
#include <type_traits>

namespace etch {

// Between two looks at what another thread is about to write.
inline void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

class ThreadPool {
 public:
  // `threads` ≥ 1 counts the calling thread; 0 means one for each processor that this process may
  // use. Fewer are started when the system refuses more: threads() says how many there are.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const;

  // The smallest number from `length` on for which a loop over threads() times as many items gives
  // each thread exactly that many in a row as its own, those that it runs first and in order.
  int64_t PartLength(int64_t length) const;

  // Calls body(begin, end) on disjoint ranges that cover [0, count), each a multiple of `grain`
  // long but the last, and returns when all are done. `grain` ≥ 1. `body` must not throw. Not
  // reentrant; one caller at a time. A loop that follows within some 50 µs of the last starts in
  // less than two microseconds; after that the threads sleep and cost nothing.
  template <class Body>
  void ParallelFor(int64_t count, int64_t grain, const Body& body) {
    Run(count, grain,
        {[](const void* self, int64_t begin, int64_t end) {
           (*static_cast<const Body*>(self))(begin, end);
         },
         &body});
  }

 private:
  // A call of `body` without its type and without an allocation.
  struct Call {
    void (*function)(const void* body, int64_t begin, int64_t end);
    const void* body;
    void operator()(int64_t begin, int64_t end) const { function(body, begin, end); }
  };
  struct State;

  void Run(int64_t count, int64_t grain, const Call& call);

  std::unique_ptr<State> state_;
};

}  // namespace etch
