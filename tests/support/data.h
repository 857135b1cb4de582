#pragma once

// Where tests find the real models, tokenizers and texts: $ETCH_DATA, or ../shared/data beside the
// project.

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <iostream>

namespace etch::test {

// The data folder, or an empty path when there is none.
inline std::filesystem::path DataFolder() {
  if (const char* variable = std::getenv("ETCH_DATA"); variable != nullptr) {
    return variable;
  }
  const std::filesystem::path beside =
      std::filesystem::path(ETCH_SOURCE_DIR) / ".." / "shared" / "data";
  return std::filesystem::exists(beside / "MANIFEST.md") ? beside : std::filesystem::path();
}

// A folder of this project.
inline std::filesystem::path SourceFolder() { return ETCH_SOURCE_DIR; }

// An empty folder for this test, removed and made anew.
inline std::filesystem::path TemporaryFolder() {
  const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
  std::string name = std::string("etch_") + info->test_suite_name() + "_" + info->name();
  for (char& character : name) {
    character = character == '/' ? '_' : character;
  }
  const std::filesystem::path folder = std::filesystem::temp_directory_path() / name;
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  return folder;
}

}  // namespace etch::test

// Declares `const std::filesystem::path name` as DataFolder()/relative. In CI a missing file fails
// the test; elsewhere it is skipped with a loud line.
#define ETCH_DATA_OR_SKIP(name, relative)                                                      \
  const std::filesystem::path name = ::etch::test::DataFolder() / (relative);                  \
  if (::etch::test::DataFolder().empty() || !std::filesystem::exists(name)) {                  \
    if (std::getenv("CI") != nullptr) {                                                        \
      FAIL() << "test data missing: " << (relative) << " (set ETCH_DATA)";                     \
    }                                                                                          \
    std::cerr << "*** SKIPPED, test data missing: " << (relative) << " (set ETCH_DATA) ***\n"; \
    GTEST_SKIP();                                                                              \
  }                                                                                            \
  static_assert(true)
