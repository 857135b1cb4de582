#include "base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

namespace etch {
namespace {

constexpr size_t kBlockBytes = size_t{2} << 20;

tl::unexpected<Error> SystemError(const std::filesystem::path& path, std::string_view action) {
  const int number = errno;
  const ErrorCode code = number == ENOENT                       ? ErrorCode::kNotFound
                         : number == ENOSPC || number == EDQUOT ? ErrorCode::kNoSpace
                                                                : ErrorCode::kIo;
  return Fail(code, "{}: cannot {}: {}", path.string(), action, std::strerror(number));
}

}  // namespace

void SyncFolder(const std::filesystem::path& folder) {
  const int fd = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd >= 0) {
    ::fsync(fd);
    ::close(fd);
  }
}

Result<MappedFile> MappedFile::Open(const std::filesystem::path& path) {
  // O_NONBLOCK: a named pipe is refused below instead of waiting for its writer.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    return SystemError(path, "open");
  }
  struct stat info = {};
  if (::fstat(fd, &info) != 0) {
    auto failure = SystemError(path, "read");
    ::close(fd);
    return failure;
  }
  if (!S_ISREG(info.st_mode)) {
    ::close(fd);
    return Fail(ErrorCode::kInvalidArgument, "{}: is not a regular file", path.string());
  }
  const auto size = static_cast<size_t>(info.st_size);
  if (size == 0) {
    ::close(fd);
    return MappedFile(path, nullptr, 0);
  }
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
  auto failure = SystemError(path, "map");
  ::close(fd);
  if (data == MAP_FAILED) {
    return failure;
  }
  // Translations of 4 KiB cost a third of the bandwidth (docs/performance.md). Advice only.
  ::madvise(data, size, MADV_HUGEPAGE);
  return MappedFile(path, static_cast<const std::byte*>(data), size);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) {
    ::munmap(const_cast<std::byte*>(data_), size_);
  }
}

void MappedFile::Release(Bytes part) const {
  // Whole pages only: those at the edges may hold a neighbour's bytes.
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const auto start = static_cast<size_t>(part.data() - data_);
  ETCH_DCHECK(part.empty() || start + part.size() <= size_);
  const size_t first = (start + page - 1) / page * page;
  const size_t last = (start + part.size()) / page * page;
  if (!part.empty() && first < last) {
    // Advice only; a refusal costs memory, not correctness.
    ::madvise(const_cast<std::byte*>(data_) + first, last - first, MADV_DONTNEED);
  }
}

Result<std::string> ReadSmallFile(const std::filesystem::path& path, uint64_t max_bytes) {
  ETCH_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(path));
  if (file.bytes().size() > max_bytes) {
    return Fail(ErrorCode::kNoSpace, "{}: {} is larger than the {} that are read at once",
                path.string(), HumanBytes(static_cast<double>(file.bytes().size())),
                HumanBytes(static_cast<double>(max_bytes)));
  }
  return std::string(AsText(file.bytes()));
}

Result<AtomicFile> AtomicFile::Create(const std::filesystem::path& path) {
  // The counter keeps two threads that write the same path apart: the last to commit wins, whole.
  static std::atomic<uint64_t> counter = 0;
  std::filesystem::path temporary = path;
  temporary += fmt::format(".tmp-{}-{}", ::getpid(), counter.fetch_add(1));
  const int fd =
      ::open(temporary.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
  if (fd < 0) {
    return SystemError(path, "create");
  }
  return AtomicFile(fd, path, temporary);
}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      path_(std::move(other.path_)),
      temporary_(std::move(other.temporary_)),
      size_(other.size_),
      block_(std::move(other.block_)) {}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) {
    ::close(fd_);
    ::unlink(temporary_.c_str());
  }
}

Status AtomicFile::Append(Bytes bytes) {
  while (!bytes.empty()) {
    const size_t part = std::min<size_t>(bytes.size(), kBlockBytes - size_ % kBlockBytes);
    block_.insert(block_.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(part));
    size_ += part;
    bytes = bytes.subspan(part);
    if (size_ % kBlockBytes == 0) {
      ETCH_TRY(Flush());
    }
  }
  return {};
}

Status AtomicFile::WriteAt(uint64_t offset, Bytes bytes) {
  ETCH_DCHECK(offset + bytes.size() <= size_);
  ETCH_TRY(Flush());
  return Write(offset, bytes);
}

Status AtomicFile::Flush() {
  const Status written = Write(size_ - block_.size(), block_);
  block_.clear();
  return written;
}

Status AtomicFile::Write(uint64_t offset, Bytes bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0) {
      if (errno == EINTR) {
        continue;
      }
      return SystemError(path_, "write");
    }
    offset += static_cast<uint64_t>(written);
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return {};
}

Status AtomicFile::Commit(int mode) {
  ETCH_TRY(Flush());
  if (::fchmod(fd_, static_cast<mode_t>(mode)) != 0 || ::fsync(fd_) != 0) {
    return SystemError(path_, "write");
  }
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) {
    return SystemError(path_, "rename into place");
  }
  ::close(std::exchange(fd_, -1));
  SyncFolder(path_.parent_path());
  return {};
}

Status WriteFileAtomically(const std::filesystem::path& path, Bytes bytes) {
  ETCH_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  ETCH_TRY(file.Append(bytes));
  return file.Commit();
}

}  // namespace etch
