#include "tenant/api_key.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include <algorithm>
#include <array>

namespace etch::tenant {

namespace {

template <typename Bytes>
std::string ToHex(const Bytes& bytes) {
  std::string digits;
  for (const auto byte : bytes) {
    digits += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  }
  return digits;
}

}  // namespace

Result<std::string> NewApiKey() {
  std::array<unsigned char, kKeyDigits / 2> random{};
  if (RAND_priv_bytes(random.data(), static_cast<int>(random.size())) != 1) {
    return Fail(ErrorCode::kUnavailable, "the system gives no random bytes for a key");
  }
  std::string key = std::string(kKeyScheme) + ToHex(random);
  OPENSSL_cleanse(random.data(), random.size());
  return key;
}

std::string_view KeyPrefix(std::string_view key) {
  const auto is_digit = [](char character) {
    return (character >= '0' && character <= '9') || (character >= 'a' && character <= 'f');
  };
  const bool is_key = key.size() == kKeyScheme.size() + kKeyDigits && key.starts_with(kKeyScheme) &&
                      std::ranges::all_of(key.substr(kKeyScheme.size()), is_digit);
  return is_key ? key.substr(0, kKeyScheme.size() + kPrefixDigits) : std::string_view();
}

std::string Digest(std::string_view text) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  ETCH_CHECK(EVP_Digest(text.data(), text.size(), digest.data(), &size, EVP_sha256(), nullptr) ==
             1);
  std::string out(size, '\0');
  std::copy_n(digest.begin(), size, out.begin());
  return out;
}

std::string HexDigest(std::string_view text) { return ToHex(Digest(text)); }

bool EqualInConstantTime(std::string_view left, std::string_view right) {
  return left.size() == right.size() && CRYPTO_memcmp(left.data(), right.data(), left.size()) == 0;
}

}  // namespace etch::tenant
