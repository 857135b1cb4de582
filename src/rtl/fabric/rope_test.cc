#include "numerics/rope.h"

#include <gtest/gtest.h>

#include <random>

#include <Vetch_rope.h>
#include "numerics/fixed_point.h"
#include "rtl/fabric/unit_bench.h"

namespace etch::rtl {
namespace {

using numerics::Rotation;

constexpr int64_t kHeadDim = UNIT_HEAD_DIM;
constexpr int64_t kPairs = kHeadDim / 2;
// Positions that the address of the high table can hold.
constexpr int64_t kContext = std::min<int64_t>(1 << 17, ((1 << UNIT_HW) / kPairs) * 256);

uint64_t Pack(Rotation rotation) {
  return uint64_t{static_cast<uint32_t>(rotation.sine)} << 32 |
         static_cast<uint32_t>(rotation.cosine);
}

class RopeUnit : public testing::Test {
 protected:
  RopeUnit() : bench_(4096) {
    model::Config config;
    config.head_dim = kHeadDim;
    config.context = kContext;
    tables_ = numerics::BuildRopeTables(config);
    bench_.memories = [this] {
      auto& unit = bench_.unit;
      if (unit.w_en != 0) {
        bench_.work[unit.w_addr] = static_cast<int32_t>(unit.w_data);
      }
      return [this, &unit, a = bench_.work[unit.a_addr], b = bench_.work[unit.b_addr],
              high = size_t{unit.high_addr}, low = size_t{unit.low_addr}] {
        unit.a_data = static_cast<uint32_t>(a);
        unit.b_data = static_cast<uint32_t>(b);
        unit.high_data = Pack(tables_.high.at(high));
        unit.low_data = Pack(tables_.low.at(low));
      };
    };
  }

  void ExpectIdle() {
    bench_.unit.eval();
    EXPECT_FALSE(bench_.unit.done);
    EXPECT_FALSE(bench_.unit.w_en);
    EXPECT_EQ(bench_.unit.w_addr, 0);
    EXPECT_EQ(bench_.unit.w_data, 0U);
    EXPECT_EQ(bench_.unit.a_addr, 0);
    EXPECT_EQ(bench_.unit.b_addr, 0);
    EXPECT_EQ(bench_.unit.high_addr, 0);
    EXPECT_EQ(bench_.unit.low_addr, 0);
  }

  void ComposeAngles(int64_t position) {
    bench_.unit.position = static_cast<uint32_t>(position);
    bench_.unit.start_angles = 1;
    int64_t cycles = 0;
    for (; bench_.unit.done == 0 && cycles < 10'000; ++cycles) {
      bench_.Tick();
      bench_.unit.start_angles = 0;
    }
    EXPECT_EQ(cycles, kHeadDim + 4);
    bench_.Tick();
    ExpectIdle();
    bench_.unit.position = 0;
    rotations_.resize(static_cast<size_t>(kPairs));
    numerics::RotationsAt(tables_.high, tables_.low, kPairs, position, rotations_);
  }

  // Rotates heads at `src`, and compares all of work memory.
  void Rotate(size_t src, int64_t heads) {
    std::vector<int32_t> expected = bench_.work;
    for (int64_t head = 0; head < heads; ++head) {
      numerics::RotateHead(rotations_,
                           std::span(expected).subspan(src + static_cast<size_t>(head * kHeadDim),
                                                       static_cast<size_t>(kHeadDim)));
    }
    bench_.unit.src = static_cast<uint16_t>(src);
    bench_.unit.heads = static_cast<uint16_t>(heads);
    EXPECT_EQ(bench_.Run(), heads * kHeadDim + 4);
    ExpectIdle();
    EXPECT_EQ(bench_.work, expected);
  }

  void FillWork() {
    for (int32_t& word : bench_.work) {
      word = std::max(static_cast<int32_t>(random_()), -numerics::kMax32);
    }
  }

  test::UnitBench<Vetch_rope> bench_;
  numerics::RopeTables tables_;
  std::vector<Rotation> rotations_;
  std::mt19937 random_{1};
};

TEST_F(RopeUnit, RotatesHeadsInPlaceAtAnyPosition) {
  for (const int64_t position :
       {int64_t{0}, int64_t{1}, int64_t{255}, int64_t{256}, int64_t{1237}, kContext - 1}) {
    SCOPED_TRACE(position);
    FillWork();
    ComposeAngles(position);
    Rotate(100, 1);
    Rotate(333, 8);
    Rotate(100, 3);
  }
}

TEST_F(RopeUnit, SaturatesAndTakesTheLargestRotationsThatTheTablesAdmit) {
  const auto largest = [this] { return random_() % 2 == 0 ? 1 << 30 : -(1 << 30); };
  for (Rotation& entry : tables_.high) {
    entry = {.cosine = largest(), .sine = largest()};
  }
  for (Rotation& entry : tables_.low) {
    entry = {.cosine = largest(), .sine = largest()};
  }
  for (int32_t& word : bench_.work) {
    word = random_() % 2 == 0 ? numerics::kMax32 : -numerics::kMax32;
  }
  ComposeAngles(3);
  Rotate(64, 8);
  ComposeAngles(261);
  Rotate(65, 4);
}

}  // namespace
}  // namespace etch::rtl
