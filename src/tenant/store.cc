// The schema stands in kSchema; `PRAGMA user_version` is its version. Usage is kept twice: a row a
// request (`usage`), and sums a month (`usage_months`), which the same transaction adds to, so that
// a limit of tokens a month is looked up in one row however long the month was.

#include "tenant/store.h"

#include <algorithm>

#include "tenant/api_key.h"
#include "tenant/calendar.h"

namespace etch::tenant {
namespace {

constexpr int64_t kSchemaVersion = 1;

constexpr const char* kSchema = R"sql(
CREATE TABLE tenants (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  all_adapters INTEGER NOT NULL,
  base INTEGER NOT NULL,
  requests_per_minute INTEGER NOT NULL,
  tokens_per_minute INTEGER NOT NULL,
  tokens_per_month INTEGER NOT NULL,
  concurrent INTEGER NOT NULL,
  context INTEGER NOT NULL,
  price_prompt_micros INTEGER NOT NULL,
  price_completion_micros INTEGER NOT NULL,
  created INTEGER NOT NULL,
  revoked INTEGER NOT NULL DEFAULT 0);
CREATE TABLE tenant_adapters (
  tenant_id INTEGER NOT NULL REFERENCES tenants(id),
  adapter TEXT NOT NULL,
  PRIMARY KEY (tenant_id, adapter)) WITHOUT ROWID;
CREATE TABLE keys (
  prefix TEXT PRIMARY KEY,
  tenant_id INTEGER NOT NULL REFERENCES tenants(id),
  digest BLOB NOT NULL,
  admin INTEGER NOT NULL,
  created INTEGER NOT NULL,
  revoked INTEGER NOT NULL DEFAULT 0);
CREATE TABLE usage (
  id INTEGER PRIMARY KEY,
  answer_id TEXT NOT NULL UNIQUE,
  request_id TEXT NOT NULL,
  time INTEGER NOT NULL,
  tenant_id INTEGER NOT NULL REFERENCES tenants(id),
  key_prefix TEXT NOT NULL,
  adapter TEXT NOT NULL,
  outcome TEXT NOT NULL,
  prompt_tokens INTEGER NOT NULL,
  completion_tokens INTEGER NOT NULL,
  cached_tokens INTEGER NOT NULL,
  price_prompt_micros INTEGER NOT NULL,
  price_completion_micros INTEGER NOT NULL);
CREATE INDEX usage_by_time ON usage(time);
CREATE TABLE usage_months (
  tenant_id INTEGER NOT NULL REFERENCES tenants(id),
  month INTEGER NOT NULL,
  adapter TEXT NOT NULL,
  requests INTEGER NOT NULL,
  prompt_tokens INTEGER NOT NULL,
  completion_tokens INTEGER NOT NULL,
  cached_tokens INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, month, adapter)) WITHOUT ROWID;
CREATE TABLE generation (value INTEGER NOT NULL);
INSERT INTO generation VALUES (1);
PRAGMA user_version = 1;
)sql";

constexpr std::string_view kSelectTenants =
    "SELECT id, name, all_adapters, base, requests_per_minute, tokens_per_minute, "
    "tokens_per_month, concurrent, context, price_prompt_micros, price_completion_micros, "
    "created, revoked FROM tenants WHERE ?1 = '' OR name = ?1 ORDER BY name";

// Binds what the statements of Add and Update have in common, parameters 1 to 9.
void BindFields(Statement& statement, const Tenant& tenant) {
  statement.Bind(1, int64_t{tenant.all_adapters})
      .Bind(2, int64_t{tenant.base})
      .Bind(3, tenant.limits.requests_per_minute)
      .Bind(4, tenant.limits.tokens_per_minute)
      .Bind(5, tenant.limits.tokens_per_month)
      .Bind(6, tenant.limits.concurrent)
      .Bind(7, tenant.limits.context)
      .Bind(8, tenant.prices.prompt_micros)
      .Bind(9, tenant.prices.completion_micros);
}

Tenant ReadTenant(const Statement& row) {
  Tenant tenant;
  tenant.id = row.Integer(0);
  tenant.name = row.Text(1);
  tenant.all_adapters = row.Integer(2) != 0;
  tenant.base = row.Integer(3) != 0;
  tenant.limits = {row.Integer(4), row.Integer(5), row.Integer(6), row.Integer(7), row.Integer(8)};
  tenant.prices = {row.Integer(9), row.Integer(10)};
  tenant.created = row.Integer(11);
  tenant.revoked = row.Integer(12);
  return tenant;
}

constexpr std::string_view kUsageWhere =
    " FROM usage JOIN tenants ON tenants.id = usage.tenant_id "
    "WHERE (?1 = '' OR tenants.name = ?1) AND time >= ?2 AND (?3 = 0 OR time < ?3) ";

void BindFilter(Statement& statement, const UsageFilter& filter) {
  statement.Bind(1, filter.tenant).Bind(2, filter.from).Bind(3, filter.to);
}

}  // namespace

Result<Store> Store::Create(const std::filesystem::path& path) {
  if (path.has_parent_path()) {
    std::error_code error;
    std::filesystem::create_directories(path.parent_path(), error);
    if (error) {
      return Fail(ErrorCode::kIo, "{}: cannot create the folder: {}", path.parent_path().string(),
                  error.message());
    }
  }
  ETCH_ASSIGN_OR_RETURN(Database database, Database::Open(path, Database::Mode::kCreate));
  Store store(std::move(database));
  const Status made = store.database_.InTransaction([&store]() -> Status {
    ETCH_ASSIGN_OR_RETURN(const int64_t version, store.database_.Integer("PRAGMA user_version"));
    return version == 0 ? store.database_.Execute(kSchema) : Status();
  });
  ETCH_TRY(made);
  ETCH_TRY(store.Prepare());
  return store;
}

Result<Store> Store::Open(const std::filesystem::path& path) {
  ETCH_ASSIGN_OR_RETURN(Database database, Database::Open(path, Database::Mode::kExisting));
  Store store(std::move(database));
  ETCH_TRY(store.Prepare());
  return store;
}

Status Store::Prepare() {
  ETCH_ASSIGN_OR_RETURN(const int64_t version, database_.Integer("PRAGMA user_version"));
  if (version != kSchemaVersion) {
    return Fail(ErrorCode::kUnsupported,
                "the file of tenants has version {}, this Etch reads version {}", version,
                kSchemaVersion);
  }
  ETCH_ASSIGN_OR_RETURN(
      insert_usage_,
      database_.Prepare("INSERT INTO usage (answer_id, request_id, time, tenant_id, "
                        "key_prefix, adapter, outcome, prompt_tokens, completion_tokens, "
                        "cached_tokens, price_prompt_micros, price_completion_micros) "
                        "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) "
                        "ON CONFLICT (answer_id) DO NOTHING RETURNING id"));
  ETCH_ASSIGN_OR_RETURN(
      add_to_month_,
      database_.Prepare("INSERT INTO usage_months VALUES (?1, ?2, ?3, 1, ?4, ?5, ?6) "
                        "ON CONFLICT (tenant_id, month, adapter) DO UPDATE SET "
                        "requests = requests + 1, prompt_tokens = prompt_tokens + ?4, "
                        "completion_tokens = completion_tokens + ?5, "
                        "cached_tokens = cached_tokens + ?6"));
  ETCH_ASSIGN_OR_RETURN(
      month_tokens_, database_.Prepare("SELECT coalesce(sum(prompt_tokens + completion_tokens), 0) "
                                       "FROM usage_months WHERE tenant_id = ?1 AND month = ?2"));
  return {};
}

Status Store::Bump() { return database_.Execute("UPDATE generation SET value = value + 1"); }

Status Store::WriteAdapters(int64_t id, const std::vector<std::string>& adapters) {
  ETCH_ASSIGN_OR_RETURN(Statement clear,
                        database_.Prepare("DELETE FROM tenant_adapters WHERE tenant_id = ?1"));
  ETCH_TRY(clear.Bind(1, id).Run());
  ETCH_ASSIGN_OR_RETURN(Statement insert,
                        database_.Prepare("INSERT OR IGNORE INTO tenant_adapters VALUES (?1, ?2)"));
  for (const std::string& adapter : adapters) {
    ETCH_TRY(insert.Bind(1, id).Bind(2, adapter).Run());
  }
  return {};
}

Result<std::string> Store::InsertKey(int64_t tenant_id, bool admin, int64_t now) {
  ETCH_ASSIGN_OR_RETURN(std::string key, NewApiKey());
  ETCH_ASSIGN_OR_RETURN(Statement insert,
                        database_.Prepare("INSERT INTO keys (prefix, tenant_id, digest, admin, "
                                          "created) VALUES (?1, ?2, ?3, ?4, ?5)"));
  ETCH_TRY(insert.Bind(1, KeyPrefix(key))
               .Bind(2, tenant_id)
               .BindBlob(3, Digest(key))
               .Bind(4, int64_t{admin})
               .Bind(5, now)
               .Run());
  return key;
}

Result<std::string> Store::Add(const Tenant& tenant, bool admin, int64_t now) {
  ETCH_TRY(ValidateTenant(tenant));
  std::string key;
  const Status stored = database_.InTransaction([&]() -> Status {
    ETCH_ASSIGN_OR_RETURN(const std::vector<Tenant> taken, Select(tenant.name));
    if (!taken.empty()) {
      return Fail(ErrorCode::kInvalidArgument,
                  "there is a tenant named \"{}\" already; `etch tenant set` changes it, "
                  "`etch tenant rotate` makes a further key",
                  tenant.name);
    }
    ETCH_ASSIGN_OR_RETURN(
        Statement insert,
        database_.Prepare(
            "INSERT INTO tenants (all_adapters, base, requests_per_minute, tokens_per_minute, "
            "tokens_per_month, concurrent, context, price_prompt_micros, "
            "price_completion_micros, name, created) "
            "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"));
    BindFields(insert, tenant);
    ETCH_TRY(insert.Bind(10, tenant.name).Bind(11, now).Run());
    ETCH_ASSIGN_OR_RETURN(const int64_t id, database_.Integer("SELECT last_insert_rowid()"));
    ETCH_TRY(WriteAdapters(id, tenant.adapters));
    ETCH_ASSIGN_OR_RETURN(key, InsertKey(id, admin, now));
    return Bump();
  });
  ETCH_TRY(stored);
  return key;
}

Status Store::Update(const Tenant& tenant) {
  ETCH_TRY(ValidateTenant(tenant));
  return database_.InTransaction([&]() -> Status {
    ETCH_ASSIGN_OR_RETURN(const Tenant present, Find(tenant.name));
    ETCH_ASSIGN_OR_RETURN(
        Statement update,
        database_.Prepare(
            "UPDATE tenants SET all_adapters = ?1, base = ?2, requests_per_minute = ?3, "
            "tokens_per_minute = ?4, tokens_per_month = ?5, concurrent = ?6, context = ?7, "
            "price_prompt_micros = ?8, price_completion_micros = ?9 WHERE id = ?10"));
    BindFields(update, tenant);
    ETCH_TRY(update.Bind(10, present.id).Run());
    ETCH_TRY(WriteAdapters(present.id, tenant.adapters));
    return Bump();
  });
}

Result<std::vector<Tenant>> Store::Select(const std::string& name) {
  std::vector<Tenant> tenants;
  ETCH_ASSIGN_OR_RETURN(Statement select, database_.Prepare(kSelectTenants));
  ETCH_ASSIGN_OR_RETURN(Statement adapters,
                        database_.Prepare("SELECT adapter FROM tenant_adapters "
                                          "WHERE tenant_id = ?1 ORDER BY adapter"));
  select.Bind(1, name);
  while (true) {
    ETCH_ASSIGN_OR_RETURN(const bool has_row, select.Step());
    if (!has_row) {
      return tenants;
    }
    Tenant tenant = ReadTenant(select);
    adapters.Bind(1, tenant.id);
    while (true) {
      ETCH_ASSIGN_OR_RETURN(const bool has_adapter, adapters.Step());
      if (!has_adapter) {
        break;
      }
      tenant.adapters.push_back(adapters.Text(0));
    }
    tenants.push_back(std::move(tenant));
  }
}

Result<Tenant> Store::Find(const std::string& name) {
  std::vector<Tenant> found;
  if (!name.empty()) {
    ETCH_ASSIGN_OR_RETURN(found, Select(name));
  }
  if (found.empty()) {
    return Fail(ErrorCode::kNotFound, "there is no tenant named \"{}\"; `etch tenant list`", name);
  }
  return std::move(found.front());
}

Result<std::vector<Tenant>> Store::Tenants() { return Select(""); }

Result<std::vector<Key>> Store::Keys(int64_t tenant_id) {
  ETCH_ASSIGN_OR_RETURN(
      Statement select,
      database_.Prepare("SELECT tenant_id, prefix, digest, admin, created, revoked FROM keys "
                        "WHERE ?1 = 0 OR tenant_id = ?1 ORDER BY created, rowid"));
  select.Bind(1, tenant_id);
  std::vector<Key> keys;
  while (true) {
    ETCH_ASSIGN_OR_RETURN(const bool has_row, select.Step());
    if (!has_row) {
      return keys;
    }
    keys.push_back({select.Integer(0), select.Text(1), select.Text(2), select.Integer(3) != 0,
                    select.Integer(4), select.Integer(5)});
  }
}

Result<std::string> Store::NewKey(const std::string& tenant, bool admin, int64_t end_others,
                                  int64_t now) {
  std::string key;
  const Status stored = database_.InTransaction([&]() -> Status {
    ETCH_ASSIGN_OR_RETURN(const Tenant present, Find(tenant));
    if (present.revoked != 0) {
      return Fail(ErrorCode::kInvalidArgument, "tenant \"{}\" is revoked", tenant);
    }
    if (end_others != 0) {
      ETCH_ASSIGN_OR_RETURN(Statement end,
                            database_.Prepare("UPDATE keys SET revoked = ?2 WHERE tenant_id = ?1 "
                                              "AND (revoked = 0 OR revoked > ?2)"));
      ETCH_TRY(end.Bind(1, present.id).Bind(2, end_others).Run());
    }
    ETCH_ASSIGN_OR_RETURN(key, InsertKey(present.id, admin, now));
    return Bump();
  });
  ETCH_TRY(stored);
  return key;
}

Status Store::Revoke(const std::string& tenant, int64_t now) {
  return database_.InTransaction([&]() -> Status {
    ETCH_ASSIGN_OR_RETURN(const Tenant present, Find(tenant));
    ETCH_ASSIGN_OR_RETURN(
        Statement end_tenant,
        database_.Prepare("UPDATE tenants SET revoked = ?2 WHERE id = ?1 AND revoked = 0"));
    ETCH_TRY(end_tenant.Bind(1, present.id).Bind(2, now).Run());
    ETCH_ASSIGN_OR_RETURN(Statement end_keys,
                          database_.Prepare("UPDATE keys SET revoked = ?2 WHERE tenant_id = ?1 "
                                            "AND (revoked = 0 OR revoked > ?2)"));
    ETCH_TRY(end_keys.Bind(1, present.id).Bind(2, now).Run());
    return Bump();
  });
}

Status Store::RevokeKey(const std::string& tenant, const std::string& prefix, int64_t now) {
  return database_.InTransaction([&]() -> Status {
    ETCH_ASSIGN_OR_RETURN(const Tenant present, Find(tenant));
    ETCH_ASSIGN_OR_RETURN(const std::vector<Key> keys, Keys(present.id));
    if (std::ranges::find(keys, prefix, &Key::prefix) == keys.end()) {
      return Fail(ErrorCode::kNotFound,
                  "tenant \"{}\" has no key that begins with {}; `etch tenant show {}` lists them",
                  tenant, prefix, tenant);
    }
    ETCH_ASSIGN_OR_RETURN(Statement end,
                          database_.Prepare("UPDATE keys SET revoked = ?2 WHERE prefix = ?1 "
                                            "AND (revoked = 0 OR revoked > ?2)"));
    ETCH_TRY(end.Bind(1, prefix).Bind(2, now).Run());
    return Bump();
  });
}

Result<int64_t> Store::Generation() { return database_.Integer("SELECT value FROM generation"); }

Result<int64_t> Store::DataVersion() { return database_.Integer("PRAGMA data_version"); }

Status Store::Record(std::span<const UsageRecord> records) {
  return database_.InTransaction([&]() -> Status {
    for (const UsageRecord& record : records) {
      insert_usage_->Bind(1, record.answer_id)
          .Bind(2, record.request_id)
          .Bind(3, record.time)
          .Bind(4, record.tenant_id)
          .Bind(5, record.key_prefix)
          .Bind(6, record.adapter)
          .Bind(7, OutcomeName(record.outcome))
          .Bind(8, record.prompt_tokens)
          .Bind(9, record.completion_tokens)
          .Bind(10, record.cached_tokens)
          .Bind(11, record.prices.prompt_micros)
          .Bind(12, record.prices.completion_micros);
      ETCH_ASSIGN_OR_RETURN(const bool is_stored, insert_usage_->Step());
      if (!is_stored) {
        continue;
      }
      ETCH_TRY(insert_usage_->Run());
      ETCH_TRY(add_to_month_->Bind(1, record.tenant_id)
                   .Bind(2, MonthOf(record.time))
                   .Bind(3, record.adapter)
                   .Bind(4, record.prompt_tokens)
                   .Bind(5, record.completion_tokens)
                   .Bind(6, record.cached_tokens)
                   .Run());
    }
    return {};
  });
}

Result<int64_t> Store::MonthTokens(int64_t tenant_id, int64_t month) {
  month_tokens_->Bind(1, tenant_id).Bind(2, month);
  ETCH_ASSIGN_OR_RETURN(const bool has_row, month_tokens_->Step());
  const int64_t tokens = has_row ? month_tokens_->Integer(0) : 0;
  ETCH_TRY(month_tokens_->Run());
  return tokens;
}

Result<std::map<int64_t, int64_t>> Store::MonthTokensOfAll(int64_t month) {
  ETCH_ASSIGN_OR_RETURN(
      Statement select,
      database_.Prepare("SELECT tenant_id, sum(prompt_tokens + completion_tokens) "
                        "FROM usage_months WHERE month = ?1 GROUP BY tenant_id"));
  select.Bind(1, month);
  std::map<int64_t, int64_t> tokens;
  while (true) {
    ETCH_ASSIGN_OR_RETURN(const bool has_row, select.Step());
    if (!has_row) {
      return tokens;
    }
    tokens[select.Integer(0)] = select.Integer(1);
  }
}

Result<std::vector<UsageTotal>> Store::Totals(const UsageFilter& filter) {
  ETCH_ASSIGN_OR_RETURN(
      Statement select,
      database_.Prepare(
          "SELECT CAST(strftime('%Y%m', time, 'unixepoch') AS INTEGER) AS month, tenants.name, "
          "adapter, count(*), sum(prompt_tokens), sum(completion_tokens), sum(cached_tokens), "
          "usage.price_prompt_micros, usage.price_completion_micros" +
          std::string(kUsageWhere) +
          "GROUP BY month, tenants.name, adapter, usage.price_prompt_micros, "
          "usage.price_completion_micros ORDER BY month, tenants.name, adapter"));
  BindFilter(select, filter);
  std::vector<PricedSum> sums;
  while (true) {
    ETCH_ASSIGN_OR_RETURN(const bool has_row, select.Step());
    if (!has_row) {
      return AddPrices(sums);
    }
    sums.push_back({{select.Integer(0), select.Text(1), select.Text(2), select.Integer(3),
                     select.Integer(4), select.Integer(5), select.Integer(6), 0},
                    {select.Integer(7), select.Integer(8)}});
  }
}

Result<std::vector<UsageRow>> Store::Rows(const UsageFilter& filter) {
  ETCH_ASSIGN_OR_RETURN(
      Statement select,
      database_.Prepare("SELECT answer_id, request_id, time, tenant_id, key_prefix, adapter, "
                        "outcome, prompt_tokens, completion_tokens, cached_tokens, "
                        "usage.price_prompt_micros, usage.price_completion_micros, tenants.name" +
                        std::string(kUsageWhere) + "ORDER BY usage.id"));
  BindFilter(select, filter);
  std::vector<UsageRow> rows;
  while (true) {
    ETCH_ASSIGN_OR_RETURN(const bool has_row, select.Step());
    if (!has_row) {
      return rows;
    }
    UsageRow row;
    row.record = {select.Text(0),
                  select.Text(1),
                  select.Integer(2),
                  select.Integer(3),
                  select.Text(4),
                  select.Text(5),
                  select.Text(6) == OutcomeName(Outcome::kCompleted) ? Outcome::kCompleted
                                                                     : Outcome::kCancelled,
                  select.Integer(7),
                  select.Integer(8),
                  select.Integer(9),
                  {select.Integer(10), select.Integer(11)}};
    row.tenant = select.Text(12);
    rows.push_back(std::move(row));
  }
}

}  // namespace etch::tenant
