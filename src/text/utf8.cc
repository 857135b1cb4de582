#include "text/utf8.h"

#include <cstdint>

namespace etch::text {
namespace {

// What a lead byte promises: the length of its character, and the range of the second byte, which
// is where overlong forms, surrogates and values above U+10FFFF are told.
struct Lead {
  size_t size = 0;  // 0: no lead byte
  uint8_t low = 0x80;
  uint8_t high = 0xBF;
};

Lead LeadOf(uint8_t byte) {
  if (byte < 0x80) {
    return {.size = 1};
  }
  if (byte >= 0xC2 && byte <= 0xDF) {
    return {.size = 2};
  }
  if (byte >= 0xE0 && byte <= 0xEF) {
    return {.size = 3,
            .low = static_cast<uint8_t>(byte == 0xE0 ? 0xA0 : 0x80),
            .high = static_cast<uint8_t>(byte == 0xED ? 0x9F : 0xBF)};
  }
  if (byte >= 0xF0 && byte <= 0xF4) {
    return {.size = 4,
            .low = static_cast<uint8_t>(byte == 0xF0 ? 0x90 : 0x80),
            .high = static_cast<uint8_t>(byte == 0xF4 ? 0x8F : 0xBF)};
  }
  return {};
}

}  // namespace

Utf8Step NextUtf8(std::string_view text) {
  const Lead lead = LeadOf(static_cast<uint8_t>(text[0]));
  if (lead.size == 0) {
    return {Utf8State::kInvalid, 1};
  }
  for (size_t index = 1; index < lead.size; ++index) {
    if (index == text.size()) {
      return {Utf8State::kIncomplete, index};
    }
    const auto byte = static_cast<uint8_t>(text[index]);
    const uint8_t low = index == 1 ? lead.low : 0x80;
    const uint8_t high = index == 1 ? lead.high : 0xBF;
    if (byte < low || byte > high) {
      return {Utf8State::kInvalid, index};
    }
  }
  return {Utf8State::kValid, lead.size};
}

size_t ValidUtf8Prefix(std::string_view text) {
  size_t position = 0;
  while (position < text.size()) {
    if (static_cast<uint8_t>(text[position]) < 0x80) {
      ++position;
      continue;
    }
    const Utf8Step step = NextUtf8(text.substr(position));
    if (step.state != Utf8State::kValid) {
      break;
    }
    position += step.size;
  }
  return position;
}

std::string ToValidUtf8(std::string_view text) {
  std::string out;
  while (true) {
    const size_t valid = ValidUtf8Prefix(text);
    out += text.substr(0, valid);
    text.remove_prefix(valid);
    if (text.empty()) {
      return out;
    }
    out += kReplacementCharacter;
    text.remove_prefix(NextUtf8(text).size);
  }
}

void AppendUtf8(char32_t code_point, std::string& out) {
  const auto tail = [&](int shift) {
    out += static_cast<char>(0x80 | ((code_point >> shift) & 0x3F));
  };
  if (code_point < 0x80) {
    out += static_cast<char>(code_point);
  } else if (code_point < 0x800) {
    out += static_cast<char>(0xC0 | (code_point >> 6));
    tail(0);
  } else if (code_point < 0x10000) {
    out += static_cast<char>(0xE0 | (code_point >> 12));
    tail(6);
    tail(0);
  } else {
    out += static_cast<char>(0xF0 | (code_point >> 18));
    tail(12);
    tail(6);
    tail(0);
  }
}

std::string ReplaceAll(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  out.reserve(text.size());
  size_t position = 0;
  while (true) {
    const size_t found = text.find(from, position);
    out += text.substr(position, found - position);
    if (found == std::string_view::npos) {
      return out;
    }
    out += to;
    position = found + from.size();
  }
}

}  // namespace etch::text
