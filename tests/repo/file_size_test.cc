// Files that a reader can hold in the head, and lines that fit on a screen.

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "repo/source_tree.h"

namespace etch::repo {
namespace {

constexpr size_t kMaxLines = 800;
constexpr size_t kMaxColumns = 100;

// Code points, not bytes.
size_t Columns(std::string_view line) {
  size_t columns = 0;
  for (const char byte : line) {
    columns += (static_cast<unsigned char>(byte) & 0xC0U) != 0x80U ? 1 : 0;
  }
  return columns;
}

TEST(FileSize, ColumnsCountCharacters) {
  EXPECT_EQ(Columns("abc"), 3U);
  EXPECT_EQ(Columns("é→…"), 3U);
}

TEST(FileSize, SourcesStayBelowTheCeiling) {
  for (const SourceFile& file : CodeFiles()) {
    if (!IsGenerated(file)) {
      EXPECT_LE(file.lines.size(), kMaxLines) << file.path << ": split it";
    }
  }
}

TEST(FileSize, LinesFitIntoAHundredColumns) {
  for (const SourceFile& file : CodeFiles()) {
    if (IsGenerated(file)) {
      continue;
    }
    for (size_t index = 0; index < file.lines.size(); ++index) {
      const size_t columns = Columns(file.lines[index]);
      if (columns > kMaxColumns) {
        ADD_FAILURE() << file.path << ":" << index + 1 << ": " << columns << " columns";
      }
    }
  }
}

TEST(FileSize, LinesHaveNoTabsAndNoSpaceAtTheEnd) {
  for (const SourceFile& file : CodeFiles()) {
    if (IsGenerated(file)) {
      continue;
    }
    for (size_t index = 0; index < file.lines.size(); ++index) {
      const std::string& line = file.lines[index];
      EXPECT_FALSE(line.ends_with(' ') || line.ends_with('\r')) << file.path << ":" << index + 1;
      EXPECT_EQ(line.find('\t'), std::string::npos) << file.path << ":" << index + 1;
    }
  }
}

}  // namespace
}  // namespace etch::repo
