#pragma once

// Who stands behind a key: the store's tenants and keys in memory, always those of the present
// moment.

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "base/error.h"
#include "tenant/tenant.h"

namespace etch::tenant {

// What a valid key gives. The tenant is as it was when the key was looked up.
struct Grant {
  std::shared_ptr<const Tenant> tenant;
  std::string key_prefix;
  bool admin = false;
};

// Thread-safe.
class Directory {
 public:
  static Result<std::unique_ptr<Directory>> Open(const std::filesystem::path& path);
  ~Directory();
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;

  // The grant of a key that is valid at `now`, or one without a tenant. A change that another
  // process has committed is seen from here on: each call asks SQLite whether there was one, which
  // takes microseconds. An error when the file cannot be read; nobody is let in then.
  Result<Grant> Authenticate(std::string_view key, int64_t now);

 private:
  struct State;
  explicit Directory(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace etch::tenant
