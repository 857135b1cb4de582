#pragma once

// Files: read-only mappings, whole small files, and atomic writes (temporary file, fsync, rename).

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/error.h"

namespace etch {

// A read-only shared memory mapping of a whole file, in huge pages where the page cache holds the
// file in such (Linux with large folios: a file that AtomicFile wrote, or one read through a
// mapping). Move-only; thread-safe to read.
class MappedFile {
 public:
  static Result<MappedFile> Open(const std::filesystem::path& path);

  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  Bytes bytes() const { return {data_, size_}; }
  // Lets the system take back the memory behind `part` of bytes(): a file larger than memory can be
  // read once without pushing others out. The bytes stay readable, at the cost of reading them
  // again.
  void Release(Bytes part) const;
  const std::filesystem::path& path() const { return path_; }

 private:
  MappedFile(std::filesystem::path path, const std::byte* data, size_t size)
      : path_(std::move(path)), data_(data), size_(size) {}

  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

// The content of a small file; fails with kNoSpace above `max_bytes`.
Result<std::string> ReadSmallFile(const std::filesystem::path& path,
                                  uint64_t max_bytes = 256u << 20);

// Makes a rename in `folder` survive a power cut. Best effort: some file systems refuse to sync a
// folder, and the files themselves are already safe.
void SyncFolder(const std::filesystem::path& folder);

// A file that appears under `path` whole or not at all. Written as `path.tmp-PID-N`; Commit() syncs
// and renames; a file that was not committed is removed by the destructor. Bytes reach the system
// in blocks of 2 MiB, which file systems with large folios keep as huge pages.
class AtomicFile {
 public:
  static Result<AtomicFile> Create(const std::filesystem::path& path);

  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&&) = delete;
  ~AtomicFile();

  // Appends at the end. kNoSpace when the disk is full.
  Status Append(Bytes bytes);
  // Overwrites bytes that were appended before.
  Status WriteAt(uint64_t offset, Bytes bytes);
  // `mode` are the permission bits of the finished file.
  Status Commit(int mode = 0644);

  uint64_t size() const { return size_; }

 private:
  AtomicFile(int fd, std::filesystem::path path, std::filesystem::path temporary)
      : fd_(fd), path_(std::move(path)), temporary_(std::move(temporary)) {}

  Status Write(uint64_t offset, Bytes bytes);
  Status Flush();

  int fd_ = -1;
  std::filesystem::path path_;
  std::filesystem::path temporary_;
  uint64_t size_ = 0;
  std::vector<std::byte> block_;  // the last bytes of size_, not yet written
};

// AtomicFile in one call.
Status WriteFileAtomically(const std::filesystem::path& path, Bytes bytes);

}  // namespace etch
