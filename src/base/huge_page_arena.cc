#include "base/huge_page_arena.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <new>
#include <utility>

#include "base/error.h"

// AddressSanitizer sees a block's bounds where it owns the block, or is told of what may be used.
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size) static_cast<void>(0)
#define ASAN_UNPOISON_MEMORY_REGION(address, size) static_cast<void>(0)
#endif

namespace etch {
namespace {

size_t RoundUp(size_t value, size_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

std::byte* PageAtOrAfter(std::byte* at) {
  const auto address = reinterpret_cast<uintptr_t>(at);
  return at + (RoundUp(address, HugePageArena::kPage) - address);
}

std::byte* PageAtOrBefore(std::byte* at) {
  return at - reinterpret_cast<uintptr_t>(at) % HugePageArena::kPage;
}

}  // namespace

HugePageArena::~HugePageArena() {
  for (const auto& [begin, region] : regions_) {
    ASAN_UNPOISON_MEMORY_REGION(begin, region.size);
    ::munmap(begin, region.size);
  }
}

HugePageArena& HugePageArena::Shared() {
  static auto* arena = new HugePageArena;  // owners of blocks may outlive any other moment
  return *arena;
}

void HugePageArena::AddRegion(size_t least) {
  const size_t size = std::max(RoundUp(least, kPage), kRegion);
  // One page more, of which what lies before and behind the aligned region goes back.
  void* mapped = ::mmap(nullptr, size + kPage, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) {
    throw std::bad_alloc();
  }
  auto* first = static_cast<std::byte*>(mapped);
  std::byte* begin = PageAtOrAfter(first);
  if (begin != first) {
    ::munmap(first, static_cast<size_t>(begin - first));
  }
  ::munmap(begin + size, static_cast<size_t>(first + kPage - begin));
  ::madvise(begin, size, MADV_HUGEPAGE);  // advice: small pages do if refused
  ASAN_POISON_MEMORY_REGION(begin, size);
  Region& region = regions_[begin];
  region.size = size;
  region.gaps.emplace(begin, size);
}

void* HugePageArena::Allocate(size_t size) {
  const size_t rounded = std::max(RoundUp(size, kAlignment), kAlignment);
  const std::scoped_lock lock(mutex_);
  for (int attempt = 0;; ++attempt) {
    for (auto& [begin, region] : regions_) {
      const auto gap = std::ranges::find_if(
          region.gaps, [rounded](const auto& at) { return at.second >= rounded; });
      if (gap == region.gaps.end()) {
        continue;
      }
      auto node = region.gaps.extract(gap);  // put back smaller, without an allocation
      std::byte* block = node.key();
      if (node.mapped() > rounded) {
        node.key() += rounded;
        node.mapped() -= rounded;
        region.gaps.insert(std::move(node));
      }
      used_ += rounded;
      ASAN_UNPOISON_MEMORY_REGION(block, size);
      return block;
    }
    ETCH_CHECK(attempt == 0);
    AddRegion(rounded);
  }
}

void HugePageArena::Free(void* memory, size_t size) noexcept {
  const size_t rounded = std::max(RoundUp(size, kAlignment), kAlignment);
  auto* block = static_cast<std::byte*>(memory);
  const std::scoped_lock lock(mutex_);
  const auto owner = std::prev(regions_.upper_bound(block));
  ETCH_DCHECK(block + rounded <= owner->first + owner->second.size);
  Region& region = owner->second;
  ASAN_POISON_MEMORY_REGION(block, rounded);
  used_ -= rounded;
  std::byte* begin = block;
  std::byte* end = block + rounded;
  const auto after = region.gaps.lower_bound(block);
  if (after != region.gaps.begin()) {
    const auto before = std::prev(after);
    if (before->first + before->second == block) {
      begin = before->first;
    }
  }
  if (after != region.gaps.end() && after->first == end) {
    end += after->second;
    region.gaps.erase(after);
  }
  const auto length = static_cast<size_t>(end - begin);
  if (length == region.size) {
    ASAN_UNPOISON_MEMORY_REGION(begin, region.size);
    ::munmap(begin, region.size);
    regions_.erase(owner);
    return;
  }
  region.gaps[begin] = length;
  // The pages that this block was the last to use a part of.
  std::byte* first = std::max(PageAtOrAfter(begin), PageAtOrBefore(block));
  std::byte* last = std::min(PageAtOrBefore(end), PageAtOrAfter(block + rounded));
  if (first < last) {
    ::madvise(first, static_cast<size_t>(last - first), MADV_DONTNEED);
  }
}

size_t HugePageArena::mapped_bytes() const {
  const std::scoped_lock lock(mutex_);
  size_t bytes = 0;
  for (const auto& [begin, region] : regions_) {
    bytes += region.size;
  }
  return bytes;
}

size_t HugePageArena::used_bytes() const {
  const std::scoped_lock lock(mutex_);
  return used_;
}

}  // namespace etch
