// tools/make_tiny_model.py: other tests and the demo build on its files, so the same arguments must
// give the same bytes.

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>

#include "support/data.h"

namespace etch::repo {
namespace {

namespace fs = std::filesystem;

std::map<std::string, std::string> ReadFolder(const fs::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    std::ifstream in(entry.path(), std::ios::binary);
    files[entry.path().filename().string()] = {std::istreambuf_iterator<char>(in), {}};
  }
  return files;
}

int MakeTinyModel(const fs::path& out, const std::string& arguments) {
  const fs::path tool = test::SourceFolder() / "tools" / "make_tiny_model.py";
  const std::string command = "python3 '" + tool.string() + "' --out '" + out.string() + "' " +
                              arguments + " >/dev/null 2>&1";
  return std::system(command.c_str());
}

TEST(MakeTinyModel, GivesTheSameBytesForTheSameArguments) {
  const fs::path folder = test::TemporaryFolder();
  ASSERT_EQ(MakeTinyModel(folder / "a", "--seed 3"), 0);
  ASSERT_EQ(MakeTinyModel(folder / "b", "--seed 3"), 0);
  ASSERT_EQ(MakeTinyModel(folder / "c", "--seed 4"), 0);
  const auto first = ReadFolder(folder / "a");
  const auto other_seed = ReadFolder(folder / "c");
  EXPECT_EQ(first.size(), 5U);
  EXPECT_EQ(first, ReadFolder(folder / "b"));
  EXPECT_NE(first.at("model.safetensors"), other_seed.at("model.safetensors"));
  EXPECT_EQ(first.at("tokenizer.json"), other_seed.at("tokenizer.json"));
}

TEST(MakeTinyModel, WritesAsManyWeightsAsTheShapeHas) {
  const fs::path folder = test::TemporaryFolder();
  ASSERT_EQ(MakeTinyModel(folder / "tied",
                          "--dim 40 --ffn-dim 50 --layers 3 --heads 6 --kv-heads 2 "
                          "--head-dim 10 --merges 10 --tied"),
            0);
  constexpr size_t kVocabulary = 256 + 10 + 6;
  constexpr size_t kLayer = 2 * 60 * 40 + 2 * 20 * 40 + 3 * 50 * 40 + 2 * 40;
  constexpr size_t kWeights = kVocabulary * 40 + 3 * kLayer + 40;
  const std::string file = ReadFolder(folder / "tied").at("model.safetensors");
  const std::string name_of_head = "lm_head.weight";
  size_t header = 0;
  for (size_t byte = 8; byte > 0; --byte) {
    header = header * 256 + static_cast<unsigned char>(file.at(byte - 1));
  }
  EXPECT_EQ(file.size(), 8 + header + 4 * kWeights);
  EXPECT_EQ(file.find(name_of_head), std::string::npos);
  EXPECT_EQ(header % 8, 0U);
}

TEST(MakeTinyModel, RefusesShapesThatCannotBe) {
  const fs::path folder = test::TemporaryFolder();
  EXPECT_NE(MakeTinyModel(folder / "a", "--heads 8 --kv-heads 3"), 0);
  EXPECT_NE(MakeTinyModel(folder / "a", "--dim 0"), 0);
  EXPECT_NE(MakeTinyModel(folder / "a", "--head-dim 7"), 0);
  EXPECT_NE(MakeTinyModel(folder / "a", "--merges 100000"), 0);
  EXPECT_FALSE(fs::exists(folder / "a" / "model.safetensors"));
}

}  // namespace
}  // namespace etch::repo
