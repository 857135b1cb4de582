// Words that have no place in the sources: debts without a date, and calls by which a library would
// print or exit. Only cli/ talks to the user; base/error.cc ends the program on a bug (ETCH_CHECK).

#include <gtest/gtest.h>

#include <cctype>
#include <filesystem>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "repo/source_tree.h"

namespace etch::repo {
namespace {

// Identifiers of a line, in order.
std::vector<std::string> Identifiers(std::string_view line) {
  std::vector<std::string> found;
  std::string word;
  for (const char letter : line) {
    if (std::isalnum(static_cast<unsigned char>(letter)) || letter == '_') {
      word += letter;
    } else if (!word.empty()) {
      found.push_back(std::exchange(word, ""));
    }
  }
  if (!word.empty()) {
    found.push_back(word);
  }
  return found;
}

// "path:line: word" for each identifier of `code` that is forbidden.
std::vector<std::string> Offences(const std::string& path, const std::vector<std::string>& lines,
                                  const std::set<std::string>& forbidden) {
  std::vector<std::string> offences;
  for (size_t index = 0; index < lines.size(); ++index) {
    for (const std::string& word : Identifiers(lines[index])) {
      if (forbidden.contains(word)) {
        offences.push_back(path + ":" + std::to_string(index + 1) + ": " + word);
      }
    }
  }
  return offences;
}

std::vector<std::string> CodeLines(const SourceFile& file) {
  std::string text;
  for (const std::string& line : file.lines) {
    text += line + "\n";
  }
  return SplitLines(CodeOnly(text));
}

const std::set<std::string> kDebts = {"TODO", "FIXME", "XXX", "HACK"};
const std::set<std::string> kPrints = {"cout",    "cerr",  "clog",      "printf",  "fprintf",
                                       "vprintf", "puts",  "fputs",     "putchar", "perror",
                                       "exit",    "_exit", "_Exit",     "abort",   "quick_exit",
                                       "system",  "popen", "terminate", "stdout",  "stderr"};

TEST(Words, AreFoundWhereTheyStand) {
  EXPECT_EQ(Offences("a.cc", {"int a;", "b(); std::cout << exit_code;"}, kPrints),
            (std::vector<std::string>{"a.cc:2: cout"}));
  EXPECT_EQ(Offences("a.cc", {"// TODO: x", "// TODOS"}, kDebts),
            (std::vector<std::string>{"a.cc:1: TODO"}));
}

TEST(Words, SourcesCarryNoDebts) {
  for (const SourceFile* file : CodeFilesIn("src/", {".h", ".cc", ".cu", ".cuh", ".txt"})) {
    EXPECT_EQ(Offences(file->path, file->lines, kDebts), std::vector<std::string>{});
  }
}

TEST(Words, LibrariesNeitherPrintNorExit) {
  for (const SourceFile* file : CodeFilesIn("src/", {".h", ".cc", ".cu", ".cuh"})) {
    // The program around a simulated chip is one of its own.
    const bool may = TopFolder(file->path) == "cli" || file->path == "src/base/error.cc" ||
                     file->path == "src/rtl/sim/chip_sim.cc" || file->path.ends_with("_test.cc") ||
                     file->path.ends_with("_bench.cc");
    if (!may) {
      EXPECT_EQ(Offences(file->path, CodeLines(*file), kPrints), std::vector<std::string>{});
    }
  }
}

TEST(Words, FileNamesSayWhatIsInside) {
  const std::set<std::string> vague = {"util",    "utils",  "helper", "helpers",
                                       "manager", "common", "misc",   "optimized",
                                       "fast",    "new",    "v2",     "placeholder"};
  for (const SourceFile& file : CodeFiles()) {
    const std::string stem = std::filesystem::path(file.path).stem().string();
    for (const std::string& word : SplitWords(stem, "_-.")) {
      EXPECT_FALSE(vague.contains(word)) << file.path;
    }
  }
}

}  // namespace
}  // namespace etch::repo
