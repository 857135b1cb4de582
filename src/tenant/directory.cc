// SQLite's data_version changes with every commit of another connection, also with those of the
// meter; the store's own generation then tells whether tenants or keys are among what changed. Only
// then is everything read again.

#include "tenant/directory.h"

#include <mutex>
#include <unordered_map>
#include <vector>

#include "tenant/api_key.h"
#include "tenant/store.h"

namespace etch::tenant {
namespace {

struct Entry {
  Key key;
  std::shared_ptr<const Tenant> tenant;  // shared with the grants, which outlive a change
};

}  // namespace

struct Directory::State {
  explicit State(Store store_in) : store(std::move(store_in)) {}

  Status Refresh();
  Status Load();

  std::mutex mutex;
  Store store;
  int64_t data_version = -1;
  int64_t generation = -1;
  std::unordered_map<std::string, Entry> entries;  // by prefix
};

Directory::Directory(std::unique_ptr<State> state) : state_(std::move(state)) {}
Directory::~Directory() = default;

Result<std::unique_ptr<Directory>> Directory::Open(const std::filesystem::path& path) {
  ETCH_ASSIGN_OR_RETURN(Store store, Store::Open(path));
  auto state = std::make_unique<State>(std::move(store));
  ETCH_TRY(state->Refresh());
  return std::unique_ptr<Directory>(new Directory(std::move(state)));
}

Status Directory::State::Refresh() {
  ETCH_ASSIGN_OR_RETURN(const int64_t version, store.DataVersion());
  if (version == data_version) {
    return {};
  }
  ETCH_ASSIGN_OR_RETURN(const int64_t present, store.Generation());
  if (present != generation) {
    ETCH_TRY(Load());
    generation = present;
  }
  data_version = version;
  return {};
}

// A commit between the two reads shows as a new data_version at the next call.
Status Directory::State::Load() {
  ETCH_ASSIGN_OR_RETURN(std::vector<Tenant> tenants, store.Tenants());
  ETCH_ASSIGN_OR_RETURN(std::vector<Key> keys, store.Keys(0));
  std::unordered_map<int64_t, std::shared_ptr<const Tenant>> by_id;
  for (Tenant& tenant : tenants) {
    const int64_t id = tenant.id;
    by_id[id] = std::make_shared<const Tenant>(std::move(tenant));
  }
  std::unordered_map<std::string, Entry> loaded;
  for (Key& key : keys) {
    const auto tenant = by_id.find(key.tenant_id);
    if (tenant != by_id.end() && tenant->second->revoked == 0) {
      std::string prefix = key.prefix;
      loaded[std::move(prefix)] = {std::move(key), tenant->second};
    }
  }
  entries = std::move(loaded);
  return {};
}

Result<Grant> Directory::Authenticate(std::string_view key, int64_t now) {
  const std::string prefix(KeyPrefix(key));
  const std::string digest = Digest(key);
  const std::lock_guard lock(state_->mutex);
  ETCH_TRY(state_->Refresh());
  const auto found = state_->entries.find(prefix);
  if (found == state_->entries.end() || !EqualInConstantTime(digest, found->second.key.digest) ||
      !found->second.key.ValidAt(now)) {
    return Grant();
  }
  return Grant{found->second.tenant, prefix, found->second.key.admin};
}

}  // namespace etch::tenant
