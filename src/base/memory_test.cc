#include "base/memory.h"

#include <gtest/gtest.h>
#include <unistd.h>

namespace etch {
namespace {

TEST(Memory, AvailableIsAPartOfTheMachine) {
  const auto machine = static_cast<uint64_t>(::sysconf(_SC_PHYS_PAGES)) *
                       static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  EXPECT_GT(AvailableMemoryBytes(), uint64_t{1} << 20);
  EXPECT_LT(AvailableMemoryBytes(), machine);
}

}  // namespace
}  // namespace etch
