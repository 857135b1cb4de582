#include "base/atomic_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>

#include "base/file.h"
#include "support/data.h"

namespace etch {
namespace {

namespace fs = std::filesystem;
using ::testing::EndsWith;
using ::testing::HasSubstr;

constexpr std::array<std::string_view, 2> kNames = {"a.txt", "b.txt"};

template <class T>
std::string ErrorOf(const Result<T>& result) {
  return result ? "no error" : result.error().message;
}

size_t EntriesIn(const fs::path& folder) {
  return static_cast<size_t>(
      std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

TEST(AtomicFolder, AppearsWholeOrNotAtAll) {
  const fs::path parent = test::TemporaryFolder();
  {
    auto folder = AtomicFolder::Create(parent / "x", kNames);
    ASSERT_TRUE(folder);
    ASSERT_TRUE(folder->Write("a.txt", "old"));
    EXPECT_FALSE(fs::exists(parent / "x"));
  }
  EXPECT_EQ(EntriesIn(parent), 0U);
  for (const char* text : {"old", "new"}) {
    auto folder = AtomicFolder::Create(parent / "x/", kNames);  // a trailing slash is no name
    ASSERT_TRUE(folder);
    ASSERT_TRUE(folder->Write("a.txt", text));
    ASSERT_TRUE(folder->Write("b.txt/deep/c.txt", text));  // folders are made
    ASSERT_TRUE(folder->Commit());
  }
  EXPECT_EQ(ReadSmallFile(parent / "x/b.txt/deep/c.txt").value(), "new");
  EXPECT_EQ(ReadSmallFile(parent / "x" / "a.txt").value(), "new");
  EXPECT_EQ(EntriesIn(parent), 1U);
}

TEST(AtomicFolder, DoesNotReplaceWhatIsNotItsOwn) {
  const fs::path parent = test::TemporaryFolder();
  fs::create_directory(parent / "x");
  ASSERT_TRUE(WriteFileAtomically(parent / "x" / "thesis.txt", AsBytes("years of work")));
  EXPECT_THAT(
      ErrorOf(AtomicFolder::Create(parent / "x", kNames)),
      EndsWith("/x: holds \"thesis.txt\", which would be lost; choose a folder of its own"));
  EXPECT_THAT(ErrorOf(AtomicFolder::Create(parent / "x" / "thesis.txt", kNames)),
              EndsWith("thesis.txt: exists and is not a directory"));
  EXPECT_THAT(ErrorOf(AtomicFolder::Create(parent / "no" / "x", kNames)),
              HasSubstr("/no/x: cannot create: No such file"));
  auto folder = AtomicFolder::Create(parent / "y", kNames);
  ASSERT_TRUE(folder);
  fs::remove_all(folder->path());
  EXPECT_THAT(ErrorOf(folder->Commit()), HasSubstr("/y: cannot create: No such file"));
}

}  // namespace
}  // namespace etch
