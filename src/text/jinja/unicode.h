#pragma once

// Code points of UTF-8 text, as Python's str sees them. Bytes that are not UTF-8 count as one code
// point each and pass through unchanged.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace etch::jinja {

// One code point of a text: its value (for a broken byte, 0x110000 + the byte) and its bytes.
struct CodePoint {
  uint32_t value;
  std::string_view bytes;
};

// The code point at `offset` < text.size().
CodePoint CodePointAt(std::string_view text, size_t offset);
int64_t CountCodePoints(std::string_view text);
std::vector<CodePoint> SplitCodePoints(std::string_view text);
void AppendUtf8(uint32_t code_point, std::string* text);

// Simple case mappings of Latin, Greek and Cyrillic; other letters are left as they are.
uint32_t ToUpper(uint32_t code_point);
uint32_t ToLower(uint32_t code_point);
bool IsCased(uint32_t code_point);
bool IsSpace(uint32_t code_point);  // str.isspace()

std::string Upper(std::string_view text);
std::string Lower(std::string_view text);
std::string Title(std::string_view text);       // str.title()
std::string Capitalize(std::string_view text);  // str.capitalize()

// Without the white space, or the code points of `set`, at either end.
std::string_view StripLeft(std::string_view text);
std::string_view StripRight(std::string_view text);
std::string_view StripLeft(std::string_view text, std::string_view set);
std::string_view StripRight(std::string_view text, std::string_view set);

}  // namespace etch::jinja
