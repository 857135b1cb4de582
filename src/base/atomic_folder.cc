#include "base/atomic_folder.h"

#include <fcntl.h>   // AT_FDCWD
#include <stdio.h>   // renameat2
#include <unistd.h>  // getpid

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <system_error>

#include "base/file.h"

namespace etch {
namespace {

namespace fs = std::filesystem;

Status CheckReplaceable(const fs::path& target, std::span<const std::string_view> own_names) {
  std::error_code error;
  const fs::file_status status = fs::symlink_status(target, error);
  if (!fs::exists(status)) {
    return {};
  }
  if (!fs::is_directory(status)) {
    return Fail(ErrorCode::kInvalidArgument, "{}: exists and is not a directory", target.string());
  }
  for (auto entry = fs::directory_iterator(target, error);
       !error && entry != fs::directory_iterator(); entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (std::ranges::find(own_names, name) == own_names.end()) {
      return Fail(ErrorCode::kInvalidArgument,
                  "{}: holds \"{}\", which would be lost; choose a folder of its own",
                  target.string(), name);
    }
  }
  return {};
}

}  // namespace

Result<AtomicFolder> AtomicFolder::Create(const fs::path& target,
                                          std::span<const std::string_view> own_names) {
  const fs::path named = target.has_filename() ? target : target.parent_path();
  ETCH_TRY(CheckReplaceable(named, own_names));
  static std::atomic<uint64_t> counter = 0;
  fs::path temporary = named;
  temporary += fmt::format(".tmp-{}-{}", ::getpid(), counter.fetch_add(1));
  std::error_code error;
  fs::create_directory(temporary, error);
  if (error) {
    return Fail(ErrorCode::kIo, "{}: cannot create: {}", named.string(), error.message());
  }
  return AtomicFolder(named, temporary);
}

AtomicFolder::AtomicFolder(AtomicFolder&& other) noexcept
    : target_(std::move(other.target_)), temporary_(std::move(other.temporary_)) {
  other.temporary_.clear();
}

AtomicFolder::~AtomicFolder() {
  if (!temporary_.empty()) {
    std::error_code ignored;
    fs::remove_all(temporary_, ignored);
  }
}

Status AtomicFolder::Write(std::string_view name, std::string_view text) const {
  const fs::path file = temporary_ / name;
  std::error_code error;
  fs::create_directories(file.parent_path(), error);
  if (error) {
    return Fail(ErrorCode::kIo, "{}: cannot create: {}", file.parent_path().string(),
                error.message());
  }
  return WriteFileAtomically(file, AsBytes(text));
}

Status AtomicFolder::Commit() {
  if (::rename(temporary_.c_str(), target_.c_str()) == 0) {
    return {};
  }
  // Occupied: the two change places in one step, and the destructor removes the old one.
  if (::renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, target_.c_str(), RENAME_EXCHANGE) == 0) {
    return {};
  }
  const std::error_code error(errno, std::generic_category());
  return Fail(ErrorCode::kIo, "{}: cannot create: {}", target_.string(), error.message());
}

}  // namespace etch
