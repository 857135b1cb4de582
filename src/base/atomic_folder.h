#pragma once

// A folder that appears whole or not at all, in the place of an older one of its kind.

#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"

namespace etch {

// Files are written into path(), `target.tmp-PID-N`; Commit() puts the folder under its name, and a
// folder that was not committed is removed with what is in it.
class AtomicFolder {
 public:
  // `own_names` are the entries that such a folder may hold. kInvalidArgument when `target` exists
  // and is no folder or holds anything else, which would be lost.
  static Result<AtomicFolder> Create(const std::filesystem::path& target,
                                     std::span<const std::string_view> own_names);

  AtomicFolder(AtomicFolder&& other) noexcept;
  AtomicFolder& operator=(AtomicFolder&&) = delete;
  ~AtomicFolder();

  const std::filesystem::path& path() const { return temporary_; }
  // `name` may lie in folders, which are made.
  Status Write(std::string_view name, std::string_view text) const;
  Status Commit();

 private:
  AtomicFolder(std::filesystem::path target, std::filesystem::path temporary)
      : target_(std::move(target)), temporary_(std::move(temporary)) {}

  std::filesystem::path target_;
  std::filesystem::path temporary_;  // empty once it was moved from
};

}  // namespace etch
