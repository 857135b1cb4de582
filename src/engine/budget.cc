// The least recently used idle thing goes first, whichever kind it is: an adapter that nobody asked
// for in an hour makes room for a context, and an old context for an adapter. A fixed share for
// each kind was not taken, because what a server needs most differs by the hour.
//
// Reclaiming happens outside of the lock, so two callers may compete for the same room; then both
// go on reclaiming, and one may find nothing left and wait. Who waits is woken by every release.

#include "engine/budget.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

#include "base/error.h"

namespace etch::engine {

Budget::Reservation::Reservation(Reservation&& other) noexcept
    : budget_(std::exchange(other.budget_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)),
      use_(other.use_) {}

Budget::Reservation& Budget::Reservation::operator=(Reservation&& other) noexcept {
  std::swap(budget_, other.budget_);
  std::swap(bytes_, other.bytes_);
  std::swap(use_, other.use_);
  return *this;
}

Budget::Reservation::~Reservation() { ShrinkTo(0); }

void Budget::Reservation::ShrinkTo(int64_t bytes) {
  ETCH_CHECK(bytes >= 0 && bytes <= bytes_, "{} of {} bytes", bytes, bytes_);
  const int64_t released = bytes_ - bytes;
  bytes_ = bytes;
  if (budget_ != nullptr && released > 0) {
    budget_->Change(use_, -released);
    budget_->Notify();
  }
}

void Budget::Reservation::SetUse(Use use) {
  if (budget_ != nullptr) {
    budget_->Change(use, bytes_);  // first: nobody may see room that is not there
    budget_->Change(use_, -bytes_);
  }
  use_ = use;
}

std::optional<Budget::Reservation> Budget::Reserve(int64_t bytes, Use use) {
  ETCH_CHECK(bytes >= 0, "{} bytes", bytes);
  while (true) {
    {
      const std::lock_guard lock(mutex_);
      const int64_t used = std::accumulate(used_bytes_.begin(), used_bytes_.end(), int64_t{0});
      if (limit_bytes_ == 0 || bytes <= limit_bytes_ - used) {
        used_bytes_[static_cast<size_t>(use)] += bytes;
        return Reservation(this, bytes, use);
      }
    }
    int64_t idle = 0;
    for (const Reclaimable* one : reclaimables_) {
      idle += one->idle_bytes();
    }
    if (bytes > limit_bytes_ - used_bytes() + idle) {
      return std::nullopt;  // in vain: nothing is given up for it
    }
    Reclaimable* oldest = nullptr;
    std::optional<Reclaimable::Clock::time_point> when;
    for (Reclaimable* one : reclaimables_) {
      const auto use_time = one->OldestUse();
      if (use_time && (!when || *use_time < *when)) {
        oldest = one;
        when = use_time;
      }
    }
    if (oldest == nullptr) {
      return std::nullopt;
    }
    oldest->ReclaimOldest();
  }
}

int64_t Budget::available_bytes() const {
  if (limit_bytes_ == 0) {
    return std::numeric_limits<int64_t>::max();
  }
  return limit_bytes_ - used_bytes(Use::kPinnedAdapter);
}

int64_t Budget::used_bytes(Use use) const {
  const std::lock_guard lock(mutex_);
  return used_bytes_[static_cast<size_t>(use)];
}

int64_t Budget::used_bytes() const {
  const std::lock_guard lock(mutex_);
  return std::accumulate(used_bytes_.begin(), used_bytes_.end(), int64_t{0});
}

void Budget::Add(Reclaimable* reclaimable) { reclaimables_.push_back(reclaimable); }

void Budget::Remove(Reclaimable* reclaimable) { std::erase(reclaimables_, reclaimable); }

void Budget::SetListener(std::function<void()> listener) {
  const std::lock_guard lock(listener_mutex_);
  listener_ = std::move(listener);
}

void Budget::Notify() const {
  const std::lock_guard lock(listener_mutex_);
  if (listener_) {
    listener_();
  }
}

void Budget::Change(Use use, int64_t bytes) {
  const std::lock_guard lock(mutex_);
  used_bytes_[static_cast<size_t>(use)] += bytes;
}

}  // namespace etch::engine
