#include "base/memory.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <memory>
#include <thread>
#include <vector>

namespace etch {
namespace {

TEST(Memory, AvailableIsAPartOfTheMachine) {
  const auto machine = static_cast<uint64_t>(::sysconf(_SC_PHYS_PAGES)) *
                       static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  EXPECT_GT(AvailableMemoryBytes(), uint64_t{1} << 20);
  EXPECT_LT(AvailableMemoryBytes(), machine);
}

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
int64_t ResidentBytes() {
  std::ifstream file("/proc/self/statm");
  int64_t size = 0;
  int64_t resident = 0;
  file >> size >> resident;
  return resident * ::sysconf(_SC_PAGESIZE);
}

// Bytes that stay of 40 MB which a thread has taken and freed.
int64_t BytesLeftByAThread() {
  UseOneHeap();
  const int64_t before = ResidentBytes();
  int64_t after = 0;
  std::thread([&] {
    std::vector<std::unique_ptr<char[]>> blocks;
    // Freeing something large makes the C library keep as much at the end of a heap.
    blocks.push_back(std::make_unique<char[]>(size_t{30} << 20));
    blocks.clear();
    for (int block = 0; block < 400; ++block) {
      blocks.push_back(std::make_unique<char[]>(size_t{100} << 10));  // written, with zeros
    }
    blocks.clear();
    ReturnFreeMemory();
    after = ResidentBytes();
  }).join();
  return after - before;
}

TEST(Memory, WhatAThreadHasFreedIsGivenBack) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");  // a process of its own, that had no threads yet
  EXPECT_EXIT(std::_Exit(BytesLeftByAThread() < (8 << 20) ? 0 : 1), ::testing::ExitedWithCode(0),
              "");
}
#endif

}  // namespace
}  // namespace etch
