#include "base/bytes.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <array>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace etch {
namespace {

constexpr uint64_t kMax64 = std::numeric_limits<uint64_t>::max();

std::array<std::byte, 10> TenBytes() {
  std::array<std::byte, 10> bytes = {};
  for (size_t index = 0; index < bytes.size(); ++index) {
    bytes[index] = static_cast<std::byte>(index);
  }
  return bytes;
}

TEST(CheckedRange, GivesWhatLiesInside) {
  const auto bytes = TenBytes();
  const auto middle = CheckedRange(bytes, 3, 4, "x");
  ASSERT_TRUE(middle.has_value());
  EXPECT_EQ(middle->data(), bytes.data() + 3);
  EXPECT_EQ(middle->size(), 4U);
  EXPECT_EQ(CheckedRange(bytes, 0, 10, "x")->size(), 10U);
  EXPECT_EQ(CheckedRange(bytes, 10, 0, "x")->size(), 0U);
  EXPECT_TRUE(CheckedRange({}, 0, 0, "x").has_value());
}

TEST(CheckedRange, RefusesWhatDoesNotAndNeverOverflows) {
  const auto bytes = TenBytes();
  struct Case {
    uint64_t offset;
    uint64_t size;
  };
  const std::vector<Case> outside = {{0, 11},         {10, 1},         {11, 0},
                                     {3, 8},          {kMax64, 0},     {0, kMax64},
                                     {kMax64, 1},     {1, kMax64},     {kMax64, kMax64},
                                     {kMax64 - 5, 6}, {5, kMax64 - 4}, {1ULL << 63, 1ULL << 63}};
  for (const Case& range : outside) {
    const auto result = CheckedRange(bytes, range.offset, range.size, "table");
    ASSERT_FALSE(result.has_value()) << range.offset << " " << range.size;
    EXPECT_EQ(result.error().code, ErrorCode::kMalformed);
  }
  EXPECT_EQ(CheckedRange(bytes, 8, 3, "table").error().message,
            "table needs 3 bytes at byte 8, but the file has 10");
}

RC_GTEST_PROP(CheckedRange, AgreesWithWideArithmetic, (uint64_t offset, uint64_t size)) {
  const auto bytes = TenBytes();
  const std::vector<uint64_t> offsets = {offset, offset % 13};
  const uint64_t near_offset = *rc::gen::elementOf(offsets);
  const std::vector<uint64_t> sizes = {size, size % 13, kMax64 - near_offset + 1};
  const uint64_t near_size = *rc::gen::elementOf(sizes);
  __extension__ using Wide = unsigned __int128;
  const bool inside = Wide{near_offset} + Wide{near_size} <= Wide{bytes.size()};
  RC_ASSERT(CheckedRange(bytes, near_offset, near_size, "x").has_value() == inside);
}

TEST(CheckedProduct, MultipliesOrRefuses) {
  EXPECT_EQ(*CheckedProduct(0, kMax64, "x"), 0U);
  EXPECT_EQ(*CheckedProduct(1, kMax64, "x"), kMax64);
  EXPECT_EQ(*CheckedProduct(1ULL << 31, 1ULL << 32, "x"), 1ULL << 63);
  EXPECT_EQ(*CheckedProduct(0xFFFFFFFFULL, 0x100000001ULL, "x"), kMax64);
  EXPECT_FALSE(CheckedProduct(1ULL << 32, 1ULL << 32, "x").has_value());
  EXPECT_FALSE(CheckedProduct(kMax64, 2, "x").has_value());
  const auto failure = CheckedProduct(kMax64, 3, "shape");
  EXPECT_EQ(failure.error().code, ErrorCode::kMalformed);
  EXPECT_EQ(failure.error().message, "shape: 18446744073709551615 times 3 is too large");
}

TEST(LittleEndian, IsReadAtAnyAlignment) {
  struct Packed {
    LittleEndian<uint8_t> tag;
    LittleEndian<uint32_t> size;
    LittleEndian<double> value;
  };
  static_assert(sizeof(Packed) == 13 && alignof(Packed) == 1);
  const Packed packed = {7, 0x01020304U, 1.5};
  EXPECT_EQ(packed.tag, 7);
  EXPECT_EQ(packed.size, 0x01020304U);
  EXPECT_EQ(packed.value, 1.5);
  const Bytes raw(reinterpret_cast<const std::byte*>(&packed), sizeof packed);
  EXPECT_EQ(raw[1], std::byte{4});
  EXPECT_EQ(raw[4], std::byte{1});
  EXPECT_EQ(LoadLittleEndian<uint32_t>(raw, 1), 0x01020304U);
  EXPECT_EQ(LoadLittleEndian<double>(raw, 5), 1.5);
}

TEST(ByteReader, ReadsBackWhatTheWriterWrote) {
  ByteWriter writer;
  writer.Write<uint8_t>(9);
  writer.Write<int64_t>(-2);
  writer.Write<float>(0.25F);
  writer.WriteString32("héllo");
  writer.PadTo(16);
  writer.WriteBytes(AsBytes("end"));
  ASSERT_EQ(writer.bytes().size(), 35U);
  const std::vector<std::byte> bytes = writer.Take();

  ByteReader reader(bytes, "file");
  EXPECT_EQ(*reader.Read<uint8_t>(), 9);
  EXPECT_EQ(*reader.Read<int64_t>(), -2);
  EXPECT_EQ(*reader.Read<float>(), 0.25F);
  EXPECT_EQ(*reader.ReadString32(), "héllo");
  EXPECT_EQ(reader.position(), 23U);
  ASSERT_TRUE(reader.ReadBytes(9).has_value());
  EXPECT_EQ(AsText(*reader.ReadBytes(3)), "end");
  EXPECT_EQ(reader.remaining(), 0U);
  EXPECT_TRUE(reader.ReadBytes(0).has_value());
}

TEST(ByteReader, RefusesToReadPastTheEndAndStaysWhereItWas) {
  const auto bytes = TenBytes();
  ByteReader reader(bytes, "header");
  ASSERT_TRUE(reader.Read<uint64_t>().has_value());
  const auto failure = reader.Read<uint32_t>();
  ASSERT_FALSE(failure.has_value());
  EXPECT_EQ(failure.error().code, ErrorCode::kMalformed);
  EXPECT_EQ(failure.error().message, "header ends at byte 10, 2 more are needed at byte 8");
  EXPECT_FALSE(reader.ReadBytes(kMax64).has_value());
  EXPECT_EQ(reader.position(), 8U);
  EXPECT_EQ(*reader.Read<uint16_t>(), 0x0908);
}

TEST(ByteReader, RefusesAStringThatLiesAboutItsLength) {
  ByteWriter writer;
  writer.Write<uint32_t>(0xFFFFFFFFU);
  writer.WriteBytes(AsBytes("abc"));
  ByteReader reader(writer.bytes(), "name");
  EXPECT_EQ(reader.ReadString32().error().code, ErrorCode::kMalformed);
}

RC_GTEST_PROP(ByteReader, RoundTripsStrings, (const std::vector<std::string>& texts)) {
  ByteWriter writer;
  for (const std::string& text : texts) {
    writer.WriteString32(text);
  }
  ByteReader reader(writer.bytes(), "texts");
  for (const std::string& text : texts) {
    const auto read = reader.ReadString32();
    RC_ASSERT(read.has_value());
    RC_ASSERT(*read == text);
  }
  RC_ASSERT(reader.remaining() == 0U);
}

TEST(ByteWriter, PadsToTheNextMultiple) {
  ByteWriter writer;
  writer.PadTo(64);
  EXPECT_EQ(writer.bytes().size(), 0U);
  writer.Write<uint8_t>(1);
  writer.PadTo(64);
  EXPECT_EQ(writer.bytes().size(), 64U);
  writer.PadTo(64);
  EXPECT_EQ(writer.bytes().size(), 64U);
  EXPECT_EQ(writer.bytes()[63], std::byte{0});
}

TEST(HumanBytes, HasThreeDigitsAndDecimalUnits) {
  EXPECT_EQ(HumanBytes(0), "0 B");
  EXPECT_EQ(HumanBytes(999), "999 B");
  EXPECT_EQ(HumanBytes(1000), "1 kB");
  EXPECT_EQ(HumanBytes(1234), "1.23 kB");
  EXPECT_EQ(HumanBytes(999'499), "999 kB");
  EXPECT_EQ(HumanBytes(999'999), "1 MB");
  EXPECT_EQ(HumanBytes(16'060'522'496), "16.1 GB");
  EXPECT_EQ(HumanBytes(static_cast<double>(kMax64)), "18.4 EB");
}

}  // namespace
}  // namespace etch
