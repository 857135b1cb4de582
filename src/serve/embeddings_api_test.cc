#include "serve/embeddings_api.h"

#include <gtest/gtest.h>

namespace etch::serve {
namespace {

TEST(Normalized, HasLengthOneAndKeepsTheDirection) {
  EXPECT_EQ(Normalized(std::vector<int32_t>{3, 0, -4}), (std::vector<float>{0.6F, 0.0F, -0.8F}));
  EXPECT_EQ(Normalized(std::vector<int32_t>{0, 0}), (std::vector<float>{0.0F, 0.0F}));
  const std::vector<int32_t> largest(16, INT32_MIN);
  EXPECT_EQ(Normalized(largest), std::vector<float>(16, -0.25F));
}

TEST(Base64, IsLittleEndian) {
  EXPECT_EQ(Base64(std::vector<float>{1.0F}), "AACAPw==");
  EXPECT_EQ(Base64(std::vector<float>{1.0F, -2.0F, 0.5F}), "AACAPwAAAMAAAAA/");
  EXPECT_EQ(Base64({}), "");
}

}  // namespace
}  // namespace etch::serve
