#pragma once

// Memory in huge pages for what is read in long streams by several owners: pages of 4 KiB cost a
// third of the bandwidth (docs/performance.md), and a huge page for each owner would waste most of
// it. Blocks lie close together in regions of the arena's own; whole pages that hold no block are
// given back to the system at once.

#include <cstddef>
#include <map>
#include <mutex>

namespace etch {

class HugePageArena {
 public:
  static constexpr size_t kAlignment = 64;
  static constexpr size_t kPage = size_t{2} << 20;
  static constexpr size_t kRegion = size_t{64} << 20;  // of address space; memory is as used

  HugePageArena() = default;
  ~HugePageArena();
  HugePageArena(const HugePageArena&) = delete;
  HugePageArena& operator=(const HugePageArena&) = delete;

  // `size` bytes at a multiple of kAlignment. Throws std::bad_alloc. Thread-safe, as is Free.
  void* Allocate(size_t size);
  // `size` as it was asked for.
  void Free(void* block, size_t size) noexcept;

  // Address space of all regions, and bytes of them in blocks.
  size_t mapped_bytes() const;
  size_t used_bytes() const;

  // The one that the process shares; lives until it ends.
  static HugePageArena& Shared();

 private:
  struct Region {
    size_t size = 0;
    std::map<std::byte*, size_t> gaps;  // free stretches, none next to another
  };

  void AddRegion(size_t least);

  mutable std::mutex mutex_;
  std::map<std::byte*, Region> regions_;  // by their begin
  size_t used_ = 0;
};

// An allocator of std containers on the shared arena.
template <class T>
struct HugePageAllocator {
  using value_type = T;

  HugePageAllocator() = default;
  template <class U>
  HugePageAllocator(const HugePageAllocator<U>& /*other*/) {}

  T* allocate(size_t count) {
    return static_cast<T*>(HugePageArena::Shared().Allocate(count * sizeof(T)));
  }
  void deallocate(T* memory, size_t count) {
    HugePageArena::Shared().Free(memory, count * sizeof(T));
  }
  bool operator==(const HugePageAllocator& /*other*/) const { return true; }
};

}  // namespace etch
