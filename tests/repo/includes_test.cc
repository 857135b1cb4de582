// How a file begins, and that each file is built: a source that no target names would rot unseen.

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "repo/source_tree.h"
#include "support/data.h"

namespace etch::repo {
namespace {

namespace fs = std::filesystem;

const std::vector<std::string> kCpp = {".h", ".cc", ".cu", ".cuh"};

std::vector<const SourceFile*> CppFiles() {
  std::vector<const SourceFile*> files;
  for (const char* folder : {"src/", "tests/", "fuzz/", "bench/"}) {
    const auto found = CodeFilesIn(folder, kCpp);
    files.insert(files.end(), found.begin(), found.end());
  }
  return files;
}

// The header that a source must include first, relative to its include root, if there is one: that
// of foo.cc, foo_test.cc and foo_bench.cc is foo.h.
std::string OwnHeader(const std::string& path) {
  fs::path stem = fs::path(path).replace_extension();
  for (const std::string ending : {"", "_test", "_bench"}) {
    const std::string name = stem.generic_string();
    const std::string header =
        name.ends_with(ending) ? name.substr(0, name.size() - ending.size()) + ".h" : "";
    if (!header.empty() && fs::exists(test::SourceFolder() / header)) {
      return header.substr(header.find('/') + 1);
    }
  }
  return "";
}

TEST(Includes, OwnHeaderComesFirst) {
  EXPECT_EQ(OwnHeader("src/base/file.cc"), "base/file.h");
  EXPECT_EQ(OwnHeader("src/base/file_test.cc"), "base/file.h");
  EXPECT_EQ(OwnHeader("src/base/nothing.cc"), "");
  for (const SourceFile* file : CppFiles()) {
    if (file->path.ends_with(".h") || OwnHeader(file->path).empty()) {
      continue;
    }
    const std::vector<Include> includes = IncludesOf(file->lines);
    ASSERT_FALSE(includes.empty()) << file->path;
    EXPECT_EQ(includes[0].path, OwnHeader(file->path)) << file->path << ":" << includes[0].line;
  }
}

TEST(Includes, StartAtTheRootAndExist) {
  const fs::path root = test::SourceFolder();
  for (const SourceFile* file : CppFiles()) {
    for (const Include& include : IncludesOf(file->lines)) {
      const std::string where =
          file->path + ":" + std::to_string(include.line) + ": " + include.path;
      EXPECT_EQ(include.path.find("./"), std::string::npos) << where << " is relative";
      if (include.quoted) {
        EXPECT_TRUE(fs::exists(root / "src" / include.path) ||
                    fs::exists(root / "tests" / include.path))
            << where << " is not under src/ or tests/";
      }
    }
  }
}

TEST(Includes, HeadersAreGuardedByPragmaOnce) {
  for (const SourceFile* file : CppFiles()) {
    if (!file->path.ends_with(".h") && !file->path.ends_with(".cuh")) {
      continue;
    }
    const auto is_text = [](const std::string& line) {
      return !line.empty() && !line.starts_with("//");
    };
    const auto first = std::ranges::find_if(file->lines, is_text);
    ASSERT_NE(first, file->lines.end()) << file->path;
    EXPECT_EQ(*first, "#pragma once") << file->path;
  }
}

TEST(Includes, HeadersOfTheLibrariesStayLight) {
  const std::set<std::string> heavy = {
      "iostream", "nlohmann/json.hpp", "immintrin.h", "x86intrin.h", "regex", "CLI/CLI.hpp"};
  for (const SourceFile* file : CodeFilesIn("src/", {".h"})) {
    if (TopFolder(file->path) == "cli" || IsTestOnly(file->path)) {
      continue;
    }
    for (const Include& include : IncludesOf(file->lines)) {
      EXPECT_FALSE(heavy.contains(include.path)) << file->path << ":" << include.line;
    }
  }
}

TEST(Includes, EverySourceIsNamedByItsCMakeLists) {
  for (const SourceFile* file : CodeFilesIn("src/", {".cc"})) {
    const fs::path folder = fs::path(file->path).parent_path();
    fs::path lists = folder / "CMakeLists.txt";
    while (!fs::exists(test::SourceFolder() / lists)) {
      ASSERT_NE(lists.parent_path(), "src") << file->path << " has no CMakeLists.txt above it";
      lists = lists.parent_path().parent_path() / "CMakeLists.txt";
    }
    const std::string name =
        fs::path(file->path).lexically_relative(lists.parent_path()).generic_string();
    const auto names_it = [&](const std::string& line) {
      return std::ranges::count(SplitWords(line, " ()\t"), name) > 0;
    };
    EXPECT_TRUE(std::ranges::any_of(ReadLines(lists), names_it))
        << file->path << " is not built: " << lists << " does not name " << name;
  }
}

}  // namespace
}  // namespace etch::repo
