#include "base/file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/data.h"

namespace etch {
namespace {

namespace fs = std::filesystem;

void WritePlain(const fs::path& path, std::string_view text) {
  std::ofstream(path, std::ios::binary) << text;
}

std::string ReadPlain(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

int64_t FilesIn(const fs::path& folder) {
  return std::distance(fs::directory_iterator(folder), fs::directory_iterator());
}

TEST(MappedFile, ShowsTheWholeFile) {
  const fs::path folder = test::TemporaryFolder();
  const std::string text(100'000, 'x');
  WritePlain(folder / "a", text);
  const auto file = MappedFile::Open(folder / "a");
  ASSERT_TRUE(file.has_value()) << file.error().message;
  EXPECT_EQ(AsText(file->bytes()), text);
  EXPECT_EQ(file->path(), folder / "a");
}

TEST(MappedFile, OpensAnEmptyFile) {
  const fs::path folder = test::TemporaryFolder();
  WritePlain(folder / "empty", "");
  const auto file = MappedFile::Open(folder / "empty");
  ASSERT_TRUE(file.has_value()) << file.error().message;
  EXPECT_TRUE(file->bytes().empty());
}

TEST(MappedFile, MovesWithoutLosingTheMapping) {
  const fs::path folder = test::TemporaryFolder();
  WritePlain(folder / "a", "first");
  WritePlain(folder / "b", "second");
  auto first = MappedFile::Open(folder / "a");
  auto second = MappedFile::Open(folder / "b");
  ASSERT_TRUE(first.has_value() && second.has_value());
  MappedFile moved = std::move(*first);
  EXPECT_EQ(AsText(moved.bytes()), "first");
  moved = std::move(*second);
  EXPECT_EQ(AsText(moved.bytes()), "second");
  EXPECT_EQ(moved.path(), folder / "b");
}

TEST(MappedFile, NamesWhatItCannotOpen) {
  const fs::path folder = test::TemporaryFolder();
  const auto missing = MappedFile::Open(folder / "missing");
  ASSERT_FALSE(missing.has_value());
  EXPECT_EQ(missing.error().code, ErrorCode::kNotFound);
  EXPECT_EQ(missing.error().message,
            (folder / "missing").string() + ": cannot open: No such file or directory");

  const auto directory = MappedFile::Open(folder);
  ASSERT_FALSE(directory.has_value());
  EXPECT_EQ(directory.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(directory.error().message, folder.string() + ": is not a regular file");

  fs::create_symlink("loop", folder / "loop");
  EXPECT_EQ(MappedFile::Open(folder / "loop").error().code, ErrorCode::kIo);
}

TEST(MappedFile, RefusesANamedPipeWithoutWaitingForIt) {
  const fs::path pipe = test::TemporaryFolder() / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_EQ(MappedFile::Open(pipe).error().code, ErrorCode::kInvalidArgument);
}

TEST(ReadSmallFile, ReadsUpToItsLimit) {
  const fs::path folder = test::TemporaryFolder();
  WritePlain(folder / "a", "12345");
  EXPECT_EQ(*ReadSmallFile(folder / "a", 5), "12345");
  const auto too_large = ReadSmallFile(folder / "a", 4);
  ASSERT_FALSE(too_large.has_value());
  EXPECT_EQ(too_large.error().code, ErrorCode::kNoSpace);
  EXPECT_EQ(too_large.error().message,
            (folder / "a").string() + ": 5 B is larger than the 4 B that are read at once");
  EXPECT_EQ(ReadSmallFile(folder / "b").error().code, ErrorCode::kNotFound);
}

TEST(AtomicFile, AppearsOnCommitWholeAndReplacesTheOldOne) {
  const fs::path folder = test::TemporaryFolder();
  const fs::path path = folder / "out";
  WritePlain(path, "old");
  auto file = AtomicFile::Create(path);
  ASSERT_TRUE(file.has_value()) << file.error().message;
  ASSERT_TRUE(file->Append(AsBytes("....new ")).has_value());
  ASSERT_TRUE(file->Append(AsBytes("content")).has_value());
  ASSERT_TRUE(file->WriteAt(0, AsBytes("the ")).has_value());
  EXPECT_EQ(file->size(), 15U);
  EXPECT_EQ(ReadPlain(path), "old");
  ASSERT_TRUE(file->Commit(0755).has_value());
  EXPECT_EQ(ReadPlain(path), "the new content");
  EXPECT_EQ(fs::status(path).permissions(), fs::perms(0755));
  EXPECT_EQ(FilesIn(folder), 1);
}

TEST(AtomicFile, LeavesNothingBehindWithoutCommit) {
  const fs::path folder = test::TemporaryFolder();
  {
    auto file = AtomicFile::Create(folder / "out");
    ASSERT_TRUE(file.has_value());
    ASSERT_TRUE(file->Append(AsBytes("half")).has_value());
    const AtomicFile moved = std::move(*file);
    EXPECT_EQ(moved.size(), 4U);
    EXPECT_EQ(FilesIn(folder), 1);
  }
  EXPECT_EQ(FilesIn(folder), 0);
}

TEST(AtomicFile, NamesWhatItCannotWrite) {
  const fs::path folder = test::TemporaryFolder();
  const auto no_folder = WriteFileAtomically(folder / "missing" / "out", AsBytes("x"));
  ASSERT_FALSE(no_folder.has_value());
  EXPECT_EQ(no_folder.error().code, ErrorCode::kNotFound);
  EXPECT_EQ(no_folder.error().message,
            (folder / "missing" / "out").string() + ": cannot create: No such file or directory");

  fs::create_directories(folder / "taken" / "inside");
  const auto taken = WriteFileAtomically(folder / "taken", AsBytes("x"));
  ASSERT_FALSE(taken.has_value());
  EXPECT_EQ(taken.error().code, ErrorCode::kIo);
  EXPECT_NE(taken.error().message.find("cannot rename into place"), std::string::npos);
  EXPECT_EQ(FilesIn(folder), 1) << "the temporary file is gone";
}

TEST(AtomicFile, TwoWritersOfOnePathNeverMix) {
  const fs::path path = test::TemporaryFolder() / "out";
  const auto write_many = [&](char letter) {
    const std::string text(50'000, letter);
    for (int round = 0; round < 20; ++round) {
      ASSERT_TRUE(WriteFileAtomically(path, AsBytes(text)).has_value());
    }
  };
  std::thread other(write_many, 'b');
  write_many('a');
  other.join();
  const std::string text = ReadPlain(path);
  EXPECT_EQ(text, std::string(50'000, text.at(0)));
  EXPECT_EQ(FilesIn(path.parent_path()), 1);
}

// A file system with room for 64 kB, unmounted at the end. Needs the right to mount.
class TinyDisk {
 public:
  explicit TinyDisk(fs::path folder) : folder_(std::move(folder)) {
    mounted_ = ::mount("etch_test", folder_.c_str(), "tmpfs", 0, "size=64k") == 0;
  }
  ~TinyDisk() {
    if (mounted_) {
      ::umount2(folder_.c_str(), MNT_DETACH);
    }
  }
  TinyDisk(const TinyDisk&) = delete;
  TinyDisk& operator=(const TinyDisk&) = delete;

  bool mounted() const { return mounted_; }

 private:
  fs::path folder_;
  bool mounted_ = false;
};

// On a full disk the old file stays, the error says so, and nothing is left behind. Without the
// right to mount, the kernel's limit on the size of a file stands in for the disk: it stops the
// same write, with another code.
TEST(AtomicFile, KeepsTheOldFileWhenTheDiskIsFull) {
  const fs::path folder = test::TemporaryFolder();
  const TinyDisk disk(folder);
  constexpr rlim_t kRoom = 64 << 10;
  rlimit limit = {};
  ::getrlimit(RLIMIT_FSIZE, &limit);
  const rlimit unlimited = limit;
  if (!disk.mounted()) {
    std::signal(SIGXFSZ, SIG_IGN);
    limit.rlim_cur = kRoom;
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
  }
  const fs::path path = folder / "out";
  const auto small = WriteFileAtomically(path, AsBytes("old"));
  const std::vector<std::byte> large(kRoom + 1);
  const auto full = WriteFileAtomically(path, large);
  ::setrlimit(RLIMIT_FSIZE, &unlimited);

  ASSERT_TRUE(small.has_value()) << small.error().message;
  ASSERT_FALSE(full.has_value());
  EXPECT_EQ(full.error().code, disk.mounted() ? ErrorCode::kNoSpace : ErrorCode::kIo);
  EXPECT_EQ(full.error().message,
            path.string() + ": cannot write: " +
                (disk.mounted() ? "No space left on device" : "File too large"));
  EXPECT_EQ(ReadPlain(path), "old");
  EXPECT_EQ(FilesIn(folder), 1);
}

}  // namespace
}  // namespace etch
