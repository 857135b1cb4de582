// Text as Python sees it, without a Unicode database: chat templates compare and change the case of
// role names and headings, so the scripts whose letters have case in everyday use are enough.
// Letters beyond them stay unchanged, as does a byte that is no UTF-8.

#include "text/jinja/unicode.h"

namespace etch::jinja {
namespace {

constexpr uint32_t kBrokenByte = 0x110000;

// Pairs (even upper, odd lower) of Latin Extended-A and -B, Greek and Cyrillic supplements.
bool IsEvenUpperRange(uint32_t code_point) {
  return (code_point >= 0x100 && code_point <= 0x12f) ||
         (code_point >= 0x132 && code_point <= 0x137) ||
         (code_point >= 0x14a && code_point <= 0x177) ||
         (code_point >= 0x200 && code_point <= 0x21f) ||
         (code_point >= 0x460 && code_point <= 0x481) ||
         (code_point >= 0x48a && code_point <= 0x4bf) ||
         (code_point >= 0x4d0 && code_point <= 0x52f) ||
         (code_point >= 0x1e00 && code_point <= 0x1e95) ||
         (code_point >= 0x1ea0 && code_point <= 0x1eff);
}

// Pairs (odd upper, even lower).
bool IsOddUpperRange(uint32_t code_point) {
  return (code_point >= 0x139 && code_point <= 0x148) ||
         (code_point >= 0x179 && code_point <= 0x17e);
}

bool InSet(std::string_view code_point, std::string_view set) {
  for (size_t offset = 0; offset < set.size();) {
    const CodePoint member = CodePointAt(set, offset);
    if (member.bytes == code_point) {
      return true;
    }
    offset += member.bytes.size();
  }
  return false;
}

// The last code point of a text that is not empty.
CodePoint LastCodePoint(std::string_view text) {
  for (size_t length = 1; length <= 4 && length <= text.size(); ++length) {
    const CodePoint last = CodePointAt(text, text.size() - length);
    if (last.bytes.size() == length && last.value < kBrokenByte) {
      return last;
    }
  }
  return CodePointAt(text.substr(text.size() - 1), 0);
}

template <class Strip>
std::string_view StripLeftIf(std::string_view text, Strip strip) {
  while (!text.empty()) {
    const CodePoint first = CodePointAt(text, 0);
    if (!strip(first)) {
      break;
    }
    text.remove_prefix(first.bytes.size());
  }
  return text;
}

template <class Strip>
std::string_view StripRightIf(std::string_view text, Strip strip) {
  while (!text.empty()) {
    const CodePoint last = LastCodePoint(text);
    if (!strip(last)) {
      break;
    }
    text.remove_suffix(last.bytes.size());
  }
  return text;
}

template <class Map>
std::string MapCodePoints(std::string_view text, Map map) {
  std::string mapped;
  mapped.reserve(text.size());
  for (size_t offset = 0; offset < text.size();) {
    const CodePoint point = CodePointAt(text, offset);
    const uint32_t to = map(point.value);
    if (to == point.value) {
      mapped += point.bytes;
    } else {
      AppendUtf8(to, &mapped);
    }
    offset += point.bytes.size();
  }
  return mapped;
}

}  // namespace

CodePoint CodePointAt(std::string_view text, size_t offset) {
  const auto byte_at = [&](size_t index) { return static_cast<unsigned char>(text[index]); };
  const unsigned char lead = byte_at(offset);
  const size_t length = lead < 0x80   ? 1
                        : lead < 0xc2 ? 0
                        : lead < 0xe0 ? 2
                        : lead < 0xf0 ? 3
                        : lead < 0xf5 ? 4
                                      : 0;
  const CodePoint broken{kBrokenByte + lead, text.substr(offset, 1)};
  if (length == 0 || offset + length > text.size()) {
    return broken;
  }
  uint32_t value = length == 1 ? lead : lead & (0x7fu >> length);
  for (size_t index = 1; index < length; ++index) {
    const unsigned char next = byte_at(offset + index);
    if ((next & 0xc0) != 0x80) {
      return broken;
    }
    value = value << 6 | (next & 0x3fu);
  }
  static constexpr uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  if (value < kSmallest[length] || value > 0x10ffff) {
    return broken;
  }
  return {value, text.substr(offset, length)};
}

int64_t CountCodePoints(std::string_view text) {
  int64_t count = 0;
  for (size_t offset = 0; offset < text.size(); ++count) {
    offset += CodePointAt(text, offset).bytes.size();
  }
  return count;
}

std::vector<CodePoint> SplitCodePoints(std::string_view text) {
  std::vector<CodePoint> points;
  for (size_t offset = 0; offset < text.size();) {
    points.push_back(CodePointAt(text, offset));
    offset += points.back().bytes.size();
  }
  return points;
}

void AppendUtf8(uint32_t code_point, std::string* text) {
  const auto append = [&](uint32_t byte) { text->push_back(static_cast<char>(byte)); };
  if (code_point < 0x80) {
    append(code_point);
  } else if (code_point < 0x800) {
    append(0xc0 | code_point >> 6);
    append(0x80 | (code_point & 0x3f));
  } else if (code_point < 0x10000) {
    append(0xe0 | code_point >> 12);
    append(0x80 | (code_point >> 6 & 0x3f));
    append(0x80 | (code_point & 0x3f));
  } else {
    append(0xf0 | code_point >> 18);
    append(0x80 | (code_point >> 12 & 0x3f));
    append(0x80 | (code_point >> 6 & 0x3f));
    append(0x80 | (code_point & 0x3f));
  }
}

uint32_t ToUpper(uint32_t code_point) {
  const uint32_t c = code_point;
  if ((c >= 'a' && c <= 'z') || (c >= 0xe0 && c <= 0xfe && c != 0xf7) ||
      (c >= 0x3b1 && c <= 0x3cb && c != 0x3c2) || (c >= 0x430 && c <= 0x44f)) {
    return c - 0x20;
  }
  if (c >= 0x450 && c <= 0x45f) {
    return c - 0x50;
  }
  if (c >= 0x561 && c <= 0x586) {  // Armenian
    return c - 0x30;
  }
  if (c == 0xff) {
    return 0x178;
  }
  if (IsEvenUpperRange(c) && c != 0x131) {
    return c & ~1u;
  }
  return IsOddUpperRange(c) && c % 2 == 0 ? c - 1 : c;
}

uint32_t ToLower(uint32_t code_point) {
  const uint32_t c = code_point;
  if ((c >= 'A' && c <= 'Z') || (c >= 0xc0 && c <= 0xde && c != 0xd7) ||
      (c >= 0x391 && c <= 0x3ab && c != 0x3a2) || (c >= 0x410 && c <= 0x42f)) {
    return c + 0x20;
  }
  if (c >= 0x400 && c <= 0x40f) {
    return c + 0x50;
  }
  if (c >= 0x531 && c <= 0x556) {
    return c + 0x30;
  }
  if (c == 0x178) {
    return 0xff;
  }
  if (IsEvenUpperRange(c)) {
    return c | 1u;
  }
  return IsOddUpperRange(c) && c % 2 == 1 ? c + 1 : c;
}

bool IsCased(uint32_t code_point) {
  return code_point == 0xdf || ToUpper(code_point) != code_point ||
         ToLower(code_point) != code_point;
}

bool IsSpace(uint32_t code_point) {
  const uint32_t c = code_point;
  return (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f ||
         c == 0x3000;
}

std::string Upper(std::string_view text) { return MapCodePoints(text, ToUpper); }
std::string Lower(std::string_view text) { return MapCodePoints(text, ToLower); }

std::string Title(std::string_view text) {
  bool inside = false;
  return MapCodePoints(text, [&](uint32_t code_point) {
    const uint32_t mapped = inside ? ToLower(code_point) : ToUpper(code_point);
    inside = IsCased(code_point);
    return mapped;
  });
}

std::string Capitalize(std::string_view text) {
  bool inside = false;
  return MapCodePoints(text, [&](uint32_t code_point) {
    const uint32_t mapped = inside ? ToLower(code_point) : ToUpper(code_point);
    inside = true;
    return mapped;
  });
}

std::string_view StripLeft(std::string_view text) {
  return StripLeftIf(text, [](const CodePoint& point) { return IsSpace(point.value); });
}

std::string_view StripRight(std::string_view text) {
  return StripRightIf(text, [](const CodePoint& point) { return IsSpace(point.value); });
}

std::string_view StripLeft(std::string_view text, std::string_view set) {
  return StripLeftIf(text, [&](const CodePoint& point) { return InSet(point.bytes, set); });
}

std::string_view StripRight(std::string_view text, std::string_view set) {
  return StripRightIf(text, [&](const CodePoint& point) { return InSet(point.bytes, set); });
}

}  // namespace etch::jinja
