#include "tenant/api_key.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace etch::tenant {
namespace {

TEST(ApiKey, KeysAreDistinctAndHaveAPrefix) {
  std::set<std::string> keys;
  std::set<std::string> prefixes;
  for (int count = 0; count < 100; ++count) {
    const std::string key = *NewApiKey();
    EXPECT_EQ(key.size(), 5U + 64U);
    EXPECT_EQ(KeyPrefix(key), key.substr(0, 5 + 12));
    keys.insert(key);
    prefixes.insert(std::string(KeyPrefix(key)));
  }
  EXPECT_EQ(keys.size(), 100U);
  EXPECT_EQ(prefixes.size(), 100U);
}

TEST(ApiKey, WhatIsNoKeyHasNoPrefix) {
  const std::string digits(64, 'a');
  EXPECT_EQ(KeyPrefix("etch_" + digits), "etch_aaaaaaaaaaaa");
  for (const std::string& key :
       {std::string(), std::string("etch_"), "etch_" + digits + "a", digits, "Etch_" + digits,
        "etch_" + std::string(64, 'A'), "etch_" + std::string(63, 'a') + "\n",
        "etch_" + std::string(63, 'a') + std::string(1, '\0')}) {
    EXPECT_EQ(KeyPrefix(key), "") << key;
  }
}

TEST(ApiKey, DigestIsSha256) {
  // FIPS 180-2, appendix B.1.
  std::string hex;
  for (const char byte : Digest("abc")) {
    hex += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  }
  EXPECT_EQ(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(ApiKey, ComparesEveryByte) {
  const std::string left(32, 'x');
  EXPECT_TRUE(EqualInConstantTime(left, left));
  for (size_t at = 0; at < left.size(); ++at) {
    std::string right = left;
    right[at] ^= 1;
    EXPECT_FALSE(EqualInConstantTime(left, right)) << at;
  }
  EXPECT_FALSE(EqualInConstantTime(left, left + "x"));
  EXPECT_FALSE(EqualInConstantTime(left, ""));
  EXPECT_TRUE(EqualInConstantTime("", ""));
}

}  // namespace
}  // namespace etch::tenant
