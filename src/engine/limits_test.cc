#include "engine/limits.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "engine/limits_kernels.h"

namespace etch::engine {
namespace {

std::vector<const LimitKernels*> Kernels() {
  std::vector<const LimitKernels*> all;
  for (const LimitKernels* const* set = AvailableLimitKernels(); *set != nullptr; ++set) {
    all.push_back(*set);
  }
  return all;
}

class LimitKernel : public ::testing::TestWithParam<const LimitKernels*> {};
INSTANTIATE_TEST_SUITE_P(EverySet, LimitKernel, ::testing::ValuesIn(Kernels()),
                         [](const auto& set) { return set.param->isa; });

// A loop that skipped bytes, or that the compiler thinned out, would measure a limit that is no
// limit; so both loops must give results that only the whole work gives.
TEST_P(LimitKernel, ReadsEveryWord) {
  constexpr size_t kSize = 64 << 10;
  constexpr size_t kWords = kSize / sizeof(uint64_t);
  std::vector<std::byte> memory(kSize + 64);
  void* aligned = memory.data();
  size_t space = memory.size();
  auto* data = static_cast<std::byte*>(std::align(64, kSize, aligned, space));
  std::mt19937_64 random(7);
  uint64_t expected = 0;
  for (size_t word = 0; word < kWords; ++word) {
    const uint64_t value = random();
    std::memcpy(data + word * sizeof value, &value, sizeof value);
    expected ^= value;
  }
  EXPECT_EQ(GetParam()->read(data, kSize), expected);
  EXPECT_EQ(GetParam()->read(data, 0), 0U);
  for (const size_t at : {size_t{0}, size_t{1023}, kSize - 1}) {
    data[at] ^= std::byte{1};
    EXPECT_NE(GetParam()->read(data, kSize), expected) << at;
    data[at] ^= std::byte{1};
  }
}

TEST_P(LimitKernel, AddsUpEveryProduct) {
  const LimitKernels& kernels = *GetParam();
  const auto macs = static_cast<uint32_t>(kernels.int8_macs);
  EXPECT_EQ(kernels.int8(0, 3, -5), 0U);
  EXPECT_EQ(kernels.int8(1, 3, -5), macs * static_cast<uint32_t>(-15));
  EXPECT_EQ(kernels.int8(7, 127, -128), 7 * macs * static_cast<uint32_t>(-127 * 128));
  EXPECT_EQ(kernels.int8(1000, 100, 101), 1000 * macs * 10100U);
}

TEST(Limits, SetsAreDistinctAndGenericIsTheLast) {
  const std::vector<const LimitKernels*> all = Kernels();
  ASSERT_FALSE(all.empty());
  EXPECT_STREQ(all.back()->isa, "generic");
  for (size_t index = 1; index < all.size(); ++index) {
    EXPECT_STRNE(all[index]->isa, all[index - 1]->isa);
  }
}

// Other programs may take the cores for a while, so a comparison gets three attempts.
TEST(Limits, GrowWithThreads) {
  Limits one;
  Limits two;
  bool grown = false;
  for (int attempt = 0; attempt < 3 && !grown; ++attempt) {
    one = MeasureLimits(1);
    two = MeasureLimits(2);
    grown = two.read_gb_s >= 0.8 * one.read_gb_s && two.int8_gop_s >= 0.8 * one.int8_gop_s;
  }
  EXPECT_TRUE(grown) << "1 thread: " << one.read_gb_s << " GB/s, " << one.int8_gop_s
                     << " Gop/s; 2 threads: " << two.read_gb_s << " GB/s, " << two.int8_gop_s
                     << " Gop/s";
  EXPECT_EQ(one.threads, 1);
  EXPECT_EQ(two.threads, 2);
  EXPECT_EQ(one.isa, Kernels().front()->isa);
  // Any machine that runs Etch reads more than 100 MB/s, and none reads 100 TB/s.
  for (const Limits& limits : {one, two}) {
    EXPECT_GT(limits.read_gb_s, 0.1);
    EXPECT_LT(limits.read_gb_s, 1e5);
    EXPECT_GT(limits.int8_gop_s, 0.1);
    EXPECT_LT(limits.int8_gop_s, 1e7);
  }
}

}  // namespace
}  // namespace etch::engine
