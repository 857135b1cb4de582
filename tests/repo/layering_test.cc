// The folders of src/ form layers. What a folder may include is written once, in edges.txt; these
// tests hold the #include lines, the CMake targets and the table that readers see to it.

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "repo/source_tree.h"
#include "support/data.h"

namespace etch::repo {
namespace {

struct Layers {
  std::vector<std::string> order;
  Edges edges;
};

Layers ReadLayers() {
  Layers layers;
  layers.edges = ParseEdges(ReadLines("tests/repo/edges.txt"), &layers.order);
  return layers;
}

// What `folder` may include, itself in it.
std::set<std::string> AllowedFor(const Layers& layers, const std::string& folder) {
  std::set<std::string> allowed = layers.edges.at(folder);
  allowed.insert(folder);
  return allowed;
}

// Each folder of src/ with the folders that its CMake targets link.
std::map<std::string, std::set<std::string>> LinkedFolders() {
  std::map<std::string, std::string> folder_of_module;
  std::map<std::string, std::set<std::string>> linked_modules;
  for (const SourceFile* file : CodeFilesIn("src/", {"CMakeLists.txt"})) {
    const std::string folder = TopFolder(file->path);
    for (const CMakeModule& module : ParseModules(file->lines)) {
      folder_of_module.try_emplace(module.name, folder);
      linked_modules[folder].insert(module.deps.begin(), module.deps.end());
    }
  }
  std::map<std::string, std::set<std::string>> linked;
  for (const auto& [folder, modules] : linked_modules) {
    for (const std::string& module : modules) {
      if (folder_of_module.contains(module) && folder_of_module[module] != folder) {
        linked[folder].insert(folder_of_module[module]);
      }
    }
  }
  return linked;
}

TEST(Layering, EdgesNameEveryFolderOfSrcAndNoOther) {
  std::set<std::string> folders;
  for (const auto& entry : std::filesystem::directory_iterator(test::SourceFolder() / "src")) {
    if (entry.is_directory()) {
      folders.insert(entry.path().filename().string());
    }
  }
  const Layers layers = ReadLayers();
  EXPECT_EQ(folders, std::set<std::string>(layers.order.begin(), layers.order.end()));
}

TEST(Layering, EdgesPointUpOnly) {
  std::set<std::string> above;
  const Layers layers = ReadLayers();
  for (const std::string& folder : layers.order) {
    for (const std::string& allowed : layers.edges.at(folder)) {
      EXPECT_TRUE(above.contains(allowed))
          << folder << " lists " << allowed << ", which is not above it";
    }
    EXPECT_TRUE(above.insert(folder).second) << folder << " is listed twice";
  }
}

TEST(Layering, IncludesKeepToTheEdges) {
  const Layers layers = ReadLayers();
  int includes_read = 0;
  for (const SourceFile* file : CodeFilesIn("src/", {".h", ".cc", ".cu", ".cuh"})) {
    const std::string folder = TopFolder(file->path);
    ASSERT_TRUE(layers.edges.contains(folder)) << file->path;
    const std::set<std::string> allowed = AllowedFor(layers, folder);
    for (const Include& include : IncludesOf(file->lines)) {
      if (!include.quoted) {
        continue;
      }
      ++includes_read;
      const std::string target = include.path.substr(0, include.path.find('/'));
      const bool is_support = target == "support" && IsTestOnly(file->path);
      EXPECT_TRUE(is_support || allowed.contains(target))
          << file->path << ":" << include.line << ": " << folder << " may not include "
          << include.path;
    }
  }
  EXPECT_GT(includes_read, 20);
}

TEST(Layering, CMakeLinksOnlyWhatTheEdgesAllow) {
  const Layers layers = ReadLayers();
  for (const auto& [folder, linked] : LinkedFolders()) {
    for (const std::string& target : linked) {
      EXPECT_TRUE(layers.edges.at(folder).contains(target))
          << "src/" << folder << "/CMakeLists.txt links " << target;
    }
  }
}

// Libraries hand on what they link (PUBLIC), so a folder reaches what its DEPS reach.
TEST(Layering, WhatIsIncludedIsLinked) {
  const Layers layers = ReadLayers();
  std::map<std::string, std::set<std::string>> linked = LinkedFolders();
  for (const std::string& folder : layers.order) {
    const std::set<std::string> direct = linked[folder];
    for (const std::string& target : direct) {
      linked[folder].insert(linked[target].begin(), linked[target].end());
    }
  }
  for (const SourceFile* file : CodeFilesIn("src/", {".h", ".cc", ".cu", ".cuh"})) {
    const std::string folder = TopFolder(file->path);
    for (const Include& include : IncludesOf(file->lines)) {
      const std::string target = include.path.substr(0, include.path.find('/'));
      if (include.quoted && target != folder && target != "support") {
        EXPECT_TRUE(linked[folder].contains(target)) << file->path << ":" << include.line << ": "
                                                     << target << " is not linked by " << folder;
      }
    }
  }
}

TEST(Layering, ArchitectureShowsTheSameTable) {
  const Edges shown = ParseEdgeTable(ReadLines("ARCHITECTURE.md"));
  for (const auto& [folder, allowed] : ReadLayers().edges) {
    ASSERT_TRUE(shown.contains(folder)) << "ARCHITECTURE.md has no row for " << folder;
    EXPECT_EQ(shown.at(folder), allowed) << "row of " << folder << " in ARCHITECTURE.md";
  }
  EXPECT_EQ(shown.size(), ReadLayers().edges.size());
}

// The sanitizers' builds in ./check make the target unit_tests only: a program that is labelled
// elsewhere would not be in it, and ctest would pass over its tests without a word.
TEST(Targets, UnitTestsAreAllInTheirTarget) {
  int labelled = 0;
  for (const SourceFile* file : CodeFilesIn("", {".cmake", "CMakeLists.txt"})) {
    for (const std::string& line : file->lines) {
      if (line.find("LABELS unit") != std::string::npos) {
        ++labelled;
        EXPECT_EQ(file->path, "cmake/EtchModule.cmake") << "use etch_unit_tests()";
      }
    }
  }
  EXPECT_GT(labelled, 0);
}

}  // namespace
}  // namespace etch::repo
