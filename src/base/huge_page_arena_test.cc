#include "base/huge_page_arena.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace etch {
namespace {

// Of a region, what is in memory.
size_t ResidentBytes(void* region, size_t size) {
  constexpr size_t kSmallPage = 4096;
  std::vector<unsigned char> pages(size / kSmallPage);
  EXPECT_EQ(::mincore(region, size, pages.data()), 0);
  return static_cast<size_t>(
             std::ranges::count_if(pages, [](unsigned char page) { return (page & 1) != 0; })) *
         kSmallPage;
}

TEST(HugePageArena, BlocksDoNotOverlapAndKeepTheirBytes) {
  struct Block {
    std::byte* memory;
    size_t size;
    unsigned char mark;
  };
  HugePageArena arena;
  std::mt19937 random(5);
  std::vector<Block> blocks;
  size_t used = 0;
  const auto rounded = [](size_t size) { return std::max<size_t>((size + 63) / 64 * 64, 64); };
  for (int step = 0; step < 4000; ++step) {
    if (blocks.size() < 50 || random() % 2 == 0) {
      const size_t size = random() % 3 == 0 ? random() % (3 << 20) : random() % 20000;
      auto* memory = static_cast<std::byte*>(arena.Allocate(size));
      EXPECT_EQ(reinterpret_cast<uintptr_t>(memory) % HugePageArena::kAlignment, 0);
      const auto mark = static_cast<unsigned char>(step);
      std::memset(memory, mark, size);
      blocks.push_back({memory, size, mark});
      used += rounded(size);
    } else {
      std::swap(blocks[random() % blocks.size()], blocks.back());
      const Block block = blocks.back();
      for (size_t index = 0; index < block.size; index += 61) {
        ASSERT_EQ(static_cast<unsigned char>(block.memory[index]), block.mark);
      }
      arena.Free(block.memory, block.size);
      used -= rounded(block.size);
      blocks.pop_back();
    }
    ASSERT_EQ(arena.used_bytes(), used);
  }
  for (const Block& block : blocks) {
    arena.Free(block.memory, block.size);
  }
  EXPECT_EQ(arena.used_bytes(), 0);
  EXPECT_EQ(arena.mapped_bytes(), 0);
}

TEST(HugePageArena, SharesAPageAndGivesEmptyOnesBack) {
  HugePageArena arena;
  constexpr size_t kSize = 700 << 10;
  constexpr int kCount = 60;
  std::vector<void*> blocks;
  for (int index = 0; index < kCount; ++index) {
    blocks.push_back(arena.Allocate(kSize));
    std::memset(blocks.back(), 1, kSize);
  }
  EXPECT_EQ(arena.mapped_bytes(), HugePageArena::kRegion);
  // The first block is the region's begin.
  const auto resident = [&] { return ResidentBytes(blocks[0], HugePageArena::kRegion); };
  EXPECT_GE(resident(), kCount * kSize);
  EXPECT_LE(resident(), kCount * kSize + HugePageArena::kPage);
  for (int index = 10; index < kCount; ++index) {
    arena.Free(blocks[static_cast<size_t>(index)], kSize);
  }
  EXPECT_LE(resident(), 10 * kSize + HugePageArena::kPage);
  for (int index = 0; index < 10; ++index) {  // what is left is untouched
    const auto* bytes = static_cast<const char*>(blocks[static_cast<size_t>(index)]);
    EXPECT_EQ(std::string(bytes, kSize), std::string(kSize, '\1'));
    arena.Free(blocks[static_cast<size_t>(index)], kSize);
  }
  EXPECT_EQ(arena.mapped_bytes(), 0);
}

TEST(HugePageArena, TakesABlockLargerThanARegion) {
  HugePageArena arena;
  const size_t size = HugePageArena::kRegion + 1;
  auto* memory = static_cast<std::byte*>(arena.Allocate(size));
  memory[size - 1] = std::byte{1};
  EXPECT_GE(arena.mapped_bytes(), size);
  arena.Free(memory, size);
  EXPECT_EQ(arena.mapped_bytes(), 0);
}

TEST(HugePageArena, OneForAllThreads) {
  std::vector<std::thread> threads;
  for (unsigned seed = 0; seed < 4; ++seed) {
    threads.emplace_back([seed] {
      std::mt19937 random(seed);
      for (int step = 0; step < 200; ++step) {
        std::vector<int, HugePageAllocator<int>> values(random() % 10000 + 1,
                                                        static_cast<int>(seed));
        EXPECT_EQ(std::count(values.begin(), values.end(), static_cast<int>(seed)),
                  std::ssize(values));
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(HugePageArena::Shared().used_bytes(), 0);
}

}  // namespace
}  // namespace etch
