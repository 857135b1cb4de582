#pragma once

// The file of tenants: who they are, their keys, and what they have used. Several processes may
// have it open: a server and the command line.

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "tenant/database.h"
#include "tenant/tenant.h"
#include "tenant/usage.h"

namespace etch::tenant {

struct UsageFilter {
  std::string tenant;  // a name; "": all
  int64_t from = 0;    // Unix seconds, the first that counts
  int64_t to = 0;      // the first that does not; 0: no end
};

// Not thread-safe. `now` is in Unix seconds throughout. An error of the file itself (kIo, kNoSpace,
// kMalformed, kUnavailable when another process holds it for longer than ten seconds) is possible
// everywhere.
class Store {
 public:
  // Creates the file, with its folder, when there is none.
  static Result<Store> Create(const std::filesystem::path& path);
  // kNotFound when there is none; kUnsupported when a later Etch made it.
  static Result<Store> Open(const std::filesystem::path& path);

  // Stores a tenant and a first key for it; returns the key, which cannot be read again.
  // kInvalidArgument when the name is taken or a field makes no sense.
  Result<std::string> Add(const Tenant& tenant, bool admin, int64_t now);
  // Replaces everything but id, name and times. kNotFound.
  Status Update(const Tenant& tenant);
  // kNotFound.
  Result<Tenant> Find(const std::string& name);
  Result<std::vector<Tenant>> Tenants();             // by name
  Result<std::vector<Key>> Keys(int64_t tenant_id);  // 0: of all; by creation

  // A further key; the others of the tenant end at `end_others` (0: they stay). kNotFound;
  // kInvalidArgument when the tenant is revoked.
  Result<std::string> NewKey(const std::string& tenant, bool admin, int64_t end_others,
                             int64_t now);
  // Ends a tenant with all its keys, or one key. Usage stays. kNotFound.
  Status Revoke(const std::string& tenant, int64_t now);
  Status RevokeKey(const std::string& tenant, const std::string& prefix, int64_t now);

  // Counts up with every change of tenants or keys, not with usage.
  Result<int64_t> Generation();
  // Changes when another connection has changed anything. Takes microseconds and no lock.
  Result<int64_t> DataVersion();

  // Writes `records` in one transaction, which is on the disk on return. A record whose answer_id
  // is stored already is passed over.
  Status Record(std::span<const UsageRecord> records);
  // Tokens that a tenant has used in a month (202611), prompts and answers.
  Result<int64_t> MonthTokens(int64_t tenant_id, int64_t month);
  Result<std::map<int64_t, int64_t>> MonthTokensOfAll(int64_t month);  // by tenant id

  Result<std::vector<UsageTotal>> Totals(const UsageFilter& filter);  // by month, tenant, adapter
  Result<std::vector<UsageRow>> Rows(const UsageFilter& filter);      // by time

 private:
  explicit Store(Database database) : database_(std::move(database)) {}

  Status Prepare();
  Status Bump();
  Status WriteAdapters(int64_t id, const std::vector<std::string>& adapters);
  Result<std::string> InsertKey(int64_t tenant_id, bool admin, int64_t now);
  Result<std::vector<Tenant>> Select(const std::string& name);

  Database database_;
  std::optional<Statement> insert_usage_;
  std::optional<Statement> add_to_month_;
  std::optional<Statement> month_tokens_;
};

}  // namespace etch::tenant
