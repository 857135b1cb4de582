#pragma once

// UTF-8, one character at a time, over bytes that may be anything (Unicode 14, table 3-7).

#include <cstddef>
#include <string>
#include <string_view>

namespace etch::text {

enum class Utf8State {
  kValid,       // a whole character
  kIncomplete,  // the text ends inside what may become a character
  kInvalid,     // can never be part of a character
};

struct Utf8Step {
  Utf8State state = Utf8State::kValid;
  // Bytes of the character, or of the longest beginning of one (at least 1): what one U+FFFD
  // replaces.
  size_t size = 0;
};

// The step at the front of `text`, which is not empty.
Utf8Step NextUtf8(std::string_view text);

// Length of the longest prefix of whole characters.
size_t ValidUtf8Prefix(std::string_view text);

// `text` with U+FFFD for what is no UTF-8.
std::string ToValidUtf8(std::string_view text);

// `code_point` below 0x110000 and no surrogate.
void AppendUtf8(char32_t code_point, std::string& out);

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";
// U+2581 "▁", which SentencePiece writes for a space.
inline constexpr std::string_view kSpaceSymbol = "\xE2\x96\x81";

// Every `from` in `text` as `to`; `from` is not empty.
std::string ReplaceAll(std::string_view text, std::string_view from, std::string_view to);

}  // namespace etch::text
