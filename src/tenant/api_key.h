#pragma once

// Keys: `etch_` and 64 hexadecimal digits, 32 bytes of the system's random generator. The first 12
// digits name the key (in lists, and in the store's index); the other 208 bits are the secret. The
// store holds the SHA-256 of the whole key. A slow hash would add nothing: nobody can try 2^208
// keys.

#include <string>
#include <string_view>

#include "base/error.h"

namespace etch::tenant {

inline constexpr std::string_view kKeyScheme = "etch_";
inline constexpr size_t kKeyDigits = 64;
inline constexpr size_t kPrefixDigits = 12;

// kUnavailable when the system has no randomness to give.
Result<std::string> NewApiKey();

// "etch_" and the first digits; "" for what is no key at all.
std::string_view KeyPrefix(std::string_view key);

// SHA-256, 32 bytes.
std::string Digest(std::string_view text);
// The same as 64 hexadecimal digits.
std::string HexDigest(std::string_view text);

// Compares without telling by its time where the two differ; for two of one length.
bool EqualInConstantTime(std::string_view left, std::string_view right);

}  // namespace etch::tenant
