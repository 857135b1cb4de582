#pragma once

// One stated number of bytes for everything that a server keeps in fast memory: lowered adapters,
// the contexts of running requests, and contexts kept for later ones. Who takes memory reserves it
// here first; what is idle says so, and the least recently used of it makes room for the rest.

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <vector>

namespace etch::engine {

// Something idle that may be given up: an adapter nobody runs, a kept context.
class Reclaimable {
 public:
  using Clock = std::chrono::steady_clock;

  virtual ~Reclaimable() = default;
  // When the least recently used of the idle things was used; empty when nothing is idle.
  virtual std::optional<Clock::time_point> OldestUse() const = 0;
  // Bytes of the budget that all idle things hold.
  virtual int64_t idle_bytes() const = 0;
  // Gives the oldest thing up. False when nothing is idle any more.
  virtual bool ReclaimOldest() = 0;
};

class Budget {
 public:
  enum class Use {
    kAdapter,        // lowered weights that are in use or idle
    kPinnedAdapter,  // lowered weights that stay
    kContext,        // keys and values of running requests
    kPrefix,         // keys and values kept for requests to come
  };

  // A part of the budget, given back by the destructor. Move-only; one thread at a time.
  class Reservation {
   public:
    Reservation() = default;
    Reservation(Reservation&& other) noexcept;
    Reservation& operator=(Reservation&& other) noexcept;
    ~Reservation();

    int64_t bytes() const { return bytes_; }
    // Gives the rest back; `bytes` is at most what is reserved.
    void ShrinkTo(int64_t bytes);
    void SetUse(Use use);

   private:
    friend class Budget;
    Reservation(Budget* budget, int64_t bytes, Use use)
        : budget_(budget), bytes_(bytes), use_(use) {}

    Budget* budget_ = nullptr;
    int64_t bytes_ = 0;
    Use use_ = Use::kAdapter;
  };

  // 0: no limit; what is reserved is counted all the same.
  explicit Budget(int64_t limit_bytes = 0) : limit_bytes_(limit_bytes) {}
  Budget(const Budget&) = delete;
  Budget& operator=(const Budget&) = delete;

  // Reclaims idle things, the least recently used first, until `bytes` fit. Empty, with nothing
  // reclaimed, when they would not although all that is idle went. Thread-safe; calls reclaimables
  // and listeners, so no lock that those take may be held.
  std::optional<Reservation> Reserve(int64_t bytes, Use use);

  // Bytes that one request can have when nothing else runs; without a limit the largest number.
  int64_t available_bytes() const;
  int64_t limit_bytes() const { return limit_bytes_; }  // 0: none
  int64_t used_bytes(Use use) const;
  int64_t used_bytes() const;  // of all uses

  // Not thread-safe beside Reserve: called while the server is put together and taken apart.
  void Add(Reclaimable* reclaimable);
  void Remove(Reclaimable* reclaimable);
  // Called by any thread, without a lock that others take, whenever memory may have become
  // available.
  void SetListener(std::function<void()> listener);
  // Tells the listener, for a thing that became idle.
  void Notify() const;

 private:
  void Change(Use use, int64_t bytes);

  const int64_t limit_bytes_;
  std::vector<Reclaimable*> reclaimables_;
  mutable std::mutex mutex_;
  std::array<int64_t, 4> used_bytes_{};
  mutable std::mutex listener_mutex_;  // held while the listener runs: after SetListener it is gone
  std::function<void()> listener_;
};

}  // namespace etch::engine
