#include "formats/data_type.h"

#include <gtest/gtest.h>

#include <array>
#include <limits>

namespace etch::formats {
namespace {

TEST(DataType, TableIsInTheOrderOfTheEnumeration) {
  for (int index = 0; index <= static_cast<int>(DataType::kMxfp4); ++index) {
    const DataTypeTraits& traits = Traits(static_cast<DataType>(index));
    EXPECT_EQ(static_cast<int>(traits.type), index) << traits.name;
    if (traits.gguf_code >= 0) {
      EXPECT_EQ(DataTypeFromGguf(static_cast<uint32_t>(traits.gguf_code)), traits.type);
    }
    if (traits.in_safetensors) {
      EXPECT_EQ(DataTypeFromSafetensors(traits.name), traits.type);
    } else {
      EXPECT_EQ(DataTypeFromSafetensors(traits.name), std::nullopt);
    }
  }
}

TEST(DataType, UnknownCodesAndNamesAreEmpty) {
  EXPECT_EQ(DataTypeFromGguf(4), std::nullopt);  // Q4_2, withdrawn
  EXPECT_EQ(DataTypeFromGguf(0xFFFFFFFF), std::nullopt);
  EXPECT_EQ(DataTypeFromSafetensors("F128"), std::nullopt);
  EXPECT_EQ(DataTypeFromSafetensors(""), std::nullopt);
}

TEST(DataType, SizesCountWholeBlocks) {
  EXPECT_EQ(DataSize(DataType::kF16, 3, "x").value(), 6U);
  EXPECT_EQ(DataSize(DataType::kQ4K, 512, "x").value(), 288U);
  EXPECT_EQ(DataSize(DataType::kQ4_0, 33, "x").error().message,
            "x: 33 values are no whole number of Q4_0 blocks of 32");
  EXPECT_EQ(DataSize(DataType::kF64, std::numeric_limits<uint64_t>::max(), "x").error().code,
            ErrorCode::kMalformed);
}

TEST(DataType, ElementCountsAreBounded) {
  EXPECT_EQ(ElementCount(std::array<int64_t, 0>{}, "x").value(), 1U);
  EXPECT_EQ(ElementCount(std::array<int64_t, 3>{4, 0, 7}, "x").value(), 0U);
  EXPECT_EQ(ElementCount(std::array<int64_t, 2>{4, -1}, "x").error().message,
            "x: negative extent -1 in its shape");
  EXPECT_EQ(ElementCount(std::array<int64_t, 2>{int64_t{1} << 62, 2}, "x").error().message,
            "x: its shape has more than 2^62 elements");
  EXPECT_FALSE(ElementCount(std::array<int64_t, 3>{int64_t{1} << 60, 16, 16}, "x").has_value());
}

}  // namespace
}  // namespace etch::formats
