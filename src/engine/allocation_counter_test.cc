// A file of its own: where GCC 12 sees through these functions, it warns of what is not there.

#include "engine/allocation_counter_test.h"

#include <atomic>
#include <cstdlib>
#include <new>

namespace {
std::atomic<int64_t> allocations = 0;
}  // namespace

// Both forms that end in the plain operator delete; under the address sanitizer the second would
// otherwise be the sanitizer's own, which knows where its memory has to go back to.
void* operator new(std::size_t size, const std::nothrow_t& /*tag*/) noexcept {
  allocations.fetch_add(1, std::memory_order_relaxed);
  return std::malloc(size == 0 ? 1 : size);
}
void* operator new(std::size_t size) {
  if (void* memory = operator new(size, std::nothrow)) {
    return memory;
  }
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t /*size*/) noexcept { std::free(memory); }

namespace etch::engine::test {

int64_t Allocations() { return allocations; }

}  // namespace etch::engine::test
