#include "rtl/rom.h"

#include <gtest/gtest.h>

namespace etch::rtl {
namespace {

TEST(Rom, BitsAreWhereTheyWerePut) {
  Rom rom(45);
  EXPECT_EQ(rom.Grow(2), 0);
  rom.Put(1, 0, 0x5, 3);
  rom.Put(1, 30, 0x1ff, 9);  // over the border of two parts
  rom.Put(1, 44, 1, 1);
  EXPECT_EQ(rom.Get(1, 0, 3), 5U);
  EXPECT_EQ(rom.Get(1, 30, 9), 0x1ffU);
  EXPECT_EQ(rom.Get(1, 29, 11), 0x3feU);
  EXPECT_EQ(rom.Get(0, 30, 9), 0U);
  EXPECT_EQ(rom.ToHex(), "000000000000\n107fc0000005\n");
  rom.Add(0x123456789ab);
  EXPECT_EQ(rom.size(), 3);
  EXPECT_EQ(rom.Get(2, 32, 13), 0x123U);
}

}  // namespace
}  // namespace etch::rtl
