#include "repo/source_tree.h"

#include <gtest/gtest.h>

namespace etch::repo {
namespace {

TEST(SourceTree, FindsTheCode) {
  const auto sources = CodeFilesIn("src/base/", {".h", ".cc"});
  EXPECT_GE(sources.size(), 5U);
  EXPECT_EQ(CodeFilesIn("src/base/file.h", {".h"}).size(), 1U);
  EXPECT_TRUE(CodeFilesIn("build/", {".h", ".cc", ".txt"}).empty());
}

TEST(SourceTree, ReadsIncludes) {
  const auto includes =
      IncludesOf({"#pragma once", "#include <vector>", "  # include \"base/a.h\"  // b",
                  "// #include \"no.h\"", "#include \"../c.h\""});
  ASSERT_EQ(includes.size(), 3U);
  EXPECT_EQ(includes[0].path, "vector");
  EXPECT_FALSE(includes[0].quoted);
  EXPECT_EQ(includes[1].path, "base/a.h");
  EXPECT_TRUE(includes[1].quoted);
  EXPECT_EQ(includes[1].line, 3);
  EXPECT_EQ(includes[2].path, "../c.h");
}

TEST(SourceTree, BlanksCommentsAndLiterals) {
  EXPECT_EQ(CodeOnly("a(\"exit(\"); // exit(\nb"), "a( );  \nb");
  EXPECT_EQ(CodeOnly("a /* x\ny */ b"), "a  \n b");
  EXPECT_EQ(CodeOnly(R"(f("\"", 'x', '\'') + 1'000)"), "f( ,  ,  ) + 1'000");
  EXPECT_EQ(CodeOnly("g(R\"re(a\"\nb)re\", c)"), "g( \n, c)");
  EXPECT_EQ(CodeOnly("\"open"), " ");
}

TEST(SourceTree, ReadsEdges) {
  std::vector<std::string> order;
  const Edges edges = ParseEdges({"# note", "base:", "model: base", "", "cli: *"}, &order);
  EXPECT_EQ(order, (std::vector<std::string>{"base", "model", "cli"}));
  EXPECT_TRUE(edges.at("base").empty());
  EXPECT_EQ(edges.at("model"), (std::set<std::string>{"base"}));
  EXPECT_EQ(edges.at("cli"), (std::set<std::string>{"base", "model"}));
}

TEST(SourceTree, ReadsTheTableOfEdges) {
  const Edges edges =
      ParseEdgeTable({"| folder | what | size |", "|---|---|---|", "| `x/` | x | y |", "text",
                      "| folder | what it holds | may include |", "|---|---|---|",
                      "| `base/` | files, bytes | – |", "| `model/` | shapes | base |",
                      "| `image/` | the file | `model`, base |", "| `cli/` | main | all |", "",
                      "| `y/` | y | base |"});
  EXPECT_EQ(edges.size(), 4U);
  EXPECT_TRUE(edges.at("base").empty());
  EXPECT_EQ(edges.at("image"), (std::set<std::string>{"base", "model"}));
  EXPECT_EQ(edges.at("cli"), (std::set<std::string>{"base", "model", "image"}));
}

TEST(SourceTree, ReadsModules) {
  const auto modules = ParseModules({"# etch_module(NAME no)", "etch_module(NAME text",
                                     "  DEPS model base  # c", "  LIBS PkgConfig::PCRE2 SRCS a.cc)",
                                     "target_link_libraries(etch PRIVATE etch_base fmt::fmt)"});
  ASSERT_EQ(modules.size(), 2U);
  EXPECT_EQ(modules[0].name, "text");
  EXPECT_EQ(modules[0].deps, (std::set<std::string>{"model", "base"}));
  EXPECT_EQ(modules[1].name, "etch");
  EXPECT_EQ(modules[1].deps, (std::set<std::string>{"base"}));
}

TEST(SourceTree, KnowsWhatOnlyTestsUse) {
  EXPECT_TRUE(IsTestOnly("src/base/file_test.cc"));
  EXPECT_TRUE(IsTestOnly("src/image/test_image.h"));
  EXPECT_TRUE(IsTestOnly("src/formats/gguf_fuzz.cc"));
  EXPECT_TRUE(IsTestOnly("src/engine/limits_bench.h"));
  EXPECT_FALSE(IsTestOnly("src/cli/bench_command.cc"));
  EXPECT_FALSE(IsTestOnly("src/base/file.cc"));
  EXPECT_FALSE(IsTestOnly("src/base/latest.cc"));
}

TEST(SourceTree, KnowsTheTopFolder) {
  EXPECT_EQ(TopFolder("src/text/jinja/lexer.cc"), "text");
  EXPECT_EQ(TopFolder("src/CMakeLists.txt"), "");
  EXPECT_EQ(TopFolder("tests/repo/a.cc"), "");
}

}  // namespace
}  // namespace etch::repo
