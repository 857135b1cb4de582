// etch tenant: the file of tenants, from the command line. A running server sees each change with
// its next request.

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <optional>

#include "cli/commands.h"
#include "cli/terminal.h"
#include "tenant/calendar.h"
#include "tenant/store.h"

namespace etch::cli {
namespace {

using Json = nlohmann::ordered_json;
using tenant::Store;
using tenant::Tenant;

struct Options {
  std::string db;
  std::string name;
  bool json = false;

  // add and set: what was not given stays as it is.
  std::vector<std::string> adapters;
  bool all_adapters = false;
  bool no_adapters = false;
  bool base = false;
  bool no_base = false;
  std::optional<int64_t> requests_per_minute;
  std::optional<int64_t> tokens_per_minute;
  std::optional<int64_t> tokens_per_month;
  std::optional<int64_t> concurrent;
  std::optional<int64_t> context;
  std::string price_prompt;
  std::string price_completion;

  bool admin = false;
  std::string key;          // revoke: one key
  int64_t grace_s = 0;      // rotate
  bool keep = false;        // rotate
  std::string from;         // usage
  std::string to;           // usage
  bool csv = false;         // usage
  bool by_request = false;  // usage
};

std::filesystem::path DefaultDatabase() {
  const char* data = std::getenv("XDG_DATA_HOME");
  if (data != nullptr && *data == '/') {
    return std::filesystem::path(data) / "etch" / "tenants.db";
  }
  const char* home = std::getenv("HOME");
  return std::filesystem::path(home != nullptr && *home != '\0' ? home : ".") /
         ".local/share/etch/tenants.db";
}

Status Apply(const Options& options, Tenant& tenant) {
  if (options.all_adapters || options.no_adapters || !options.adapters.empty()) {
    tenant.all_adapters = options.all_adapters;
    tenant.adapters = options.adapters;
    std::ranges::sort(tenant.adapters);
    const auto repeated = std::ranges::unique(tenant.adapters);
    tenant.adapters.erase(repeated.begin(), repeated.end());
  }
  tenant.base = options.base || (tenant.base && !options.no_base);
  tenant::Limits& limits = tenant.limits;
  limits.requests_per_minute = options.requests_per_minute.value_or(limits.requests_per_minute);
  limits.tokens_per_minute = options.tokens_per_minute.value_or(limits.tokens_per_minute);
  limits.tokens_per_month = options.tokens_per_month.value_or(limits.tokens_per_month);
  limits.concurrent = options.concurrent.value_or(limits.concurrent);
  limits.context = options.context.value_or(limits.context);
  if (!options.price_prompt.empty()) {
    ETCH_ASSIGN_OR_RETURN(tenant.prices.prompt_micros, tenant::ParseMicros(options.price_prompt));
  }
  if (!options.price_completion.empty()) {
    ETCH_ASSIGN_OR_RETURN(tenant.prices.completion_micros,
                          tenant::ParseMicros(options.price_completion));
  }
  return {};
}

Json TenantJson(const Tenant& tenant) {
  Json json = {{"name", tenant.name}, {"base", tenant.base}};
  if (tenant.all_adapters) {
    json["adapters"] = "all";
  } else {
    json["adapters"] = tenant.adapters;
  }
  const auto limit = [](int64_t value) { return value == 0 ? Json() : Json(value); };
  json["limits"] = {{"requests_per_minute", limit(tenant.limits.requests_per_minute)},
                    {"tokens_per_minute", limit(tenant.limits.tokens_per_minute)},
                    {"tokens_per_month", limit(tenant.limits.tokens_per_month)},
                    {"concurrent", limit(tenant.limits.concurrent)},
                    {"context", limit(tenant.limits.context)}};
  json["price_per_million"] = {
      {"prompt", tenant::FormatMicros(tenant.prices.prompt_micros)},
      {"completion", tenant::FormatMicros(tenant.prices.completion_micros)}};
  json["created"] = tenant::FormatTime(tenant.created);
  json["revoked"] = tenant.revoked == 0 ? Json() : Json(tenant::FormatTime(tenant.revoked));
  return json;
}

Json KeyJson(const tenant::Key& key) {
  return {{"prefix", key.prefix},
          {"admin", key.admin},
          {"created", tenant::FormatTime(key.created)},
          {"revoked", key.revoked == 0 ? Json() : Json(tenant::FormatTime(key.revoked))}};
}

std::string ModelsText(const Tenant& tenant) {
  std::string text = tenant.base ? "the base" : "";
  if (tenant.all_adapters) {
    return text + (text.empty() ? "" : ", ") + "all adapters";
  }
  for (const std::string& adapter : tenant.adapters) {
    text += (text.empty() ? "" : ", ") + adapter;
  }
  return text.empty() ? "nothing" : text;
}

std::string LimitText(int64_t limit) { return limit == 0 ? "-" : std::to_string(limit); }

void PrintKey(const Options& options, const std::string& key) {
  if (options.json) {
    PrintJson({{"tenant", options.name}, {"key", key}});
    return;
  }
  fmt::print("{}\n", key);
  fmt::print(stderr, "This is the key of {}. It is shown this once and stored as a hash.\n",
             options.name);
}

Status Add(const Options& options) {
  Tenant tenant;
  tenant.name = options.name;
  ETCH_TRY(Apply(options, tenant));
  ETCH_ASSIGN_OR_RETURN(Store store, Store::Create(options.db));
  ETCH_ASSIGN_OR_RETURN(const std::string key,
                        store.Add(tenant, options.admin, tenant::UnixTime()));
  PrintKey(options, key);
  return {};
}

Status List(const Options& options) {
  ETCH_ASSIGN_OR_RETURN(Store store, Store::Open(options.db));
  ETCH_ASSIGN_OR_RETURN(const std::vector<Tenant> tenants, store.Tenants());
  if (options.json) {
    Json list = Json::array();
    for (const Tenant& tenant : tenants) {
      list.push_back(TenantJson(tenant));
    }
    PrintJson({{"tenants", std::move(list)}});
    return {};
  }
  fmt::print("{:<20} {:>9} {:>10} {:>12} {:>8} {:>8}  {}\n", "tenant", "req/min", "tok/min",
             "tok/month", "at once", "context", "may name");
  for (const Tenant& tenant : tenants) {
    const tenant::Limits& limits = tenant.limits;
    fmt::print(
        "{:<20} {:>9} {:>10} {:>12} {:>8} {:>8}  {}\n", tenant.name,
        LimitText(limits.requests_per_minute), LimitText(limits.tokens_per_minute),
        LimitText(limits.tokens_per_month), LimitText(limits.concurrent), LimitText(limits.context),
        tenant.revoked != 0 ? "revoked " + tenant::FormatTime(tenant.revoked) : ModelsText(tenant));
  }
  return {};
}

Status Show(const Options& options) {
  ETCH_ASSIGN_OR_RETURN(Store store, Store::Open(options.db));
  ETCH_ASSIGN_OR_RETURN(const Tenant tenant, store.Find(options.name));
  ETCH_ASSIGN_OR_RETURN(const std::vector<tenant::Key> keys, store.Keys(tenant.id));
  const int64_t month = tenant::MonthOf(tenant::UnixTime());
  ETCH_ASSIGN_OR_RETURN(const int64_t used, store.MonthTokens(tenant.id, month));
  if (options.json) {
    Json json = TenantJson(tenant);
    json["tokens_this_month"] = used;
    json["keys"] = Json::array();
    for (const tenant::Key& key : keys) {
      json["keys"].push_back(KeyJson(key));
    }
    PrintJson(json);
    return {};
  }
  const tenant::Limits& limits = tenant.limits;
  fmt::print("tenant            {}\n", tenant.name);
  fmt::print("may name          {}\n", ModelsText(tenant));
  fmt::print("requests/min      {}\n", LimitText(limits.requests_per_minute));
  fmt::print("tokens/min        {}\n", LimitText(limits.tokens_per_minute));
  fmt::print("tokens/month      {} ({} used in {})\n", LimitText(limits.tokens_per_month), used,
             tenant::FormatMonth(month));
  fmt::print("at once           {}\n", LimitText(limits.concurrent));
  fmt::print("context           {}\n", LimitText(limits.context));
  fmt::print("price per million {} prompt, {} completion\n",
             tenant::FormatMicros(tenant.prices.prompt_micros),
             tenant::FormatMicros(tenant.prices.completion_micros));
  fmt::print("created           {}\n", tenant::FormatTime(tenant.created));
  if (tenant.revoked != 0) {
    fmt::print("revoked           {}\n", tenant::FormatTime(tenant.revoked));
  }
  for (const tenant::Key& key : keys) {
    fmt::print("key               {}… {}created {}{}\n", key.prefix, key.admin ? "admin, " : "",
               tenant::FormatTime(key.created),
               key.revoked == 0 ? "" : ", ends " + tenant::FormatTime(key.revoked));
  }
  return {};
}

Status Set(const Options& options) {
  ETCH_ASSIGN_OR_RETURN(Store store, Store::Open(options.db));
  ETCH_ASSIGN_OR_RETURN(Tenant tenant, store.Find(options.name));
  ETCH_TRY(Apply(options, tenant));
  ETCH_TRY(store.Update(tenant));
  return Show(options);
}

Status Revoke(const Options& options) {
  ETCH_ASSIGN_OR_RETURN(Store store, Store::Open(options.db));
  const int64_t now = tenant::UnixTime();
  ETCH_TRY(options.key.empty() ? store.Revoke(options.name, now)
                               : store.RevokeKey(options.name, options.key, now));
  if (options.json) {
    PrintJson({{"tenant", options.name}, {"revoked", options.key.empty() ? "all" : options.key}});
  } else {
    fmt::print("{}: {} revoked\n", options.name,
               options.key.empty() ? "all keys" : options.key + "…");
  }
  return {};
}

Status Rotate(const Options& options) {
  ETCH_ASSIGN_OR_RETURN(Store store, Store::Open(options.db));
  const int64_t now = tenant::UnixTime();
  const int64_t end_others = options.keep ? 0 : now + options.grace_s;
  ETCH_ASSIGN_OR_RETURN(const std::string key,
                        store.NewKey(options.name, options.admin, end_others, now));
  PrintKey(options, key);
  return {};
}

Json TotalJson(const tenant::UsageTotal& total) {
  return {{"month", tenant::FormatMonth(total.month)},
          {"tenant", total.tenant},
          {"adapter", total.adapter.empty() ? Json() : Json(total.adapter)},
          {"requests", total.requests},
          {"prompt_tokens", total.prompt_tokens},
          {"completion_tokens", total.completion_tokens},
          {"cached_tokens", total.cached_tokens},
          {"cost", tenant::FormatMicros(total.cost_micros)}};
}

Json RowJson(const tenant::UsageRow& row) {
  const tenant::UsageRecord& record = row.record;
  return {{"time", tenant::FormatTime(record.time)},
          {"tenant", row.tenant},
          {"key", record.key_prefix},
          {"adapter", record.adapter.empty() ? Json() : Json(record.adapter)},
          {"answer_id", record.answer_id},
          {"request_id", record.request_id},
          {"outcome", tenant::OutcomeName(record.outcome)},
          {"prompt_tokens", record.prompt_tokens},
          {"completion_tokens", record.completion_tokens},
          {"cached_tokens", record.cached_tokens}};
}

void PrintTotals(const Options& options, const std::vector<tenant::UsageTotal>& totals) {
  int64_t cost = 0;
  Json list = Json::array();
  for (const tenant::UsageTotal& total : totals) {
    cost += total.cost_micros;
    list.push_back(TotalJson(total));
  }
  if (options.csv) {
    fmt::print("{}", tenant::TotalsCsv(totals));
  } else if (options.json) {
    PrintJson({{"usage", std::move(list)}, {"cost", tenant::FormatMicros(cost)}});
  } else {
    fmt::print("{:<8} {:<16} {:<16} {:>9} {:>13} {:>13} {:>13} {:>12}\n", "month", "tenant",
               "adapter", "requests", "prompt", "completion", "cached", "cost");
    for (const tenant::UsageTotal& total : totals) {
      fmt::print("{:<8} {:<16} {:<16} {:>9} {:>13} {:>13} {:>13} {:>12}\n",
                 tenant::FormatMonth(total.month), total.tenant,
                 total.adapter.empty() ? "(base)" : total.adapter, total.requests,
                 total.prompt_tokens, total.completion_tokens, total.cached_tokens,
                 tenant::FormatMicros(total.cost_micros));
    }
    fmt::print("{:>107}\n", "total " + tenant::FormatMicros(cost));
  }
}

void PrintRows(const Options& options, const std::vector<tenant::UsageRow>& rows) {
  if (!options.json) {
    fmt::print("{}", tenant::RowsCsv(rows));
    return;
  }
  Json list = Json::array();
  for (const tenant::UsageRow& row : rows) {
    list.push_back(RowJson(row));
  }
  PrintJson({{"requests", std::move(list)}});
}

Status Usage(const Options& options) {
  tenant::UsageFilter filter;
  filter.tenant = options.name;
  if (!options.from.empty()) {
    ETCH_ASSIGN_OR_RETURN(filter.from, tenant::ParseDate(options.from));
  }
  if (!options.to.empty()) {
    ETCH_ASSIGN_OR_RETURN(filter.to, tenant::ParseDateEnd(options.to));
  }
  ETCH_ASSIGN_OR_RETURN(Store store, Store::Open(options.db));
  if (!options.name.empty()) {
    ETCH_TRY(store.Find(options.name));
  }
  if (options.by_request) {
    ETCH_ASSIGN_OR_RETURN(const std::vector<tenant::UsageRow> rows, store.Rows(filter));
    PrintRows(options, rows);
  } else {
    ETCH_ASSIGN_OR_RETURN(const std::vector<tenant::UsageTotal> totals, store.Totals(filter));
    PrintTotals(options, totals);
  }
  return {};
}

void AddSettings(CLI::App& command, Options& options) {
  CLI::Option* some =
      command.add_option("--adapter", options.adapters, "An adapter it may name; again for more");
  CLI::Option* all = command.add_flag("--all-adapters", options.all_adapters,
                                      "Every adapter that the server has, now and later");
  command.add_flag("--no-adapters", options.no_adapters, "None")->excludes(some)->excludes(all);
  all->excludes(some);
  CLI::Option* base =
      command.add_flag("--base", options.base, "It may name the base; so begins a tenant");
  command.add_flag("--no-base", options.no_base, "It may not")->excludes(base);
  const auto add_limit = [&command](const char* name, std::optional<int64_t>& value,
                                    const char* help) {
    command.add_option(name, value, std::string(help) + "; 0: no limit")
        ->check(CLI::NonNegativeNumber);
  };
  add_limit("--requests-per-minute", options.requests_per_minute, "Requests a minute");
  add_limit("--tokens-per-minute", options.tokens_per_minute, "Tokens a minute, in and out");
  add_limit("--tokens-per-month", options.tokens_per_month, "Tokens a calendar month (UTC)");
  add_limit("--concurrent", options.concurrent, "Requests at once");
  add_limit("--context", options.context, "Tokens of a prompt and its answer");
  command.add_option("--price-prompt", options.price_prompt,
                     "Price of a million prompt tokens, as 0.75");
  command.add_option("--price-completion", options.price_completion,
                     "Price of a million completion tokens");
}

}  // namespace

void AddTenant(CLI::App& app, int* exit_code) {
  CLI::App* command =
      app.add_subcommand("tenant", "Keys, limits and usage of those who share a server");
  command->require_subcommand(1);
  command->footer(
      "A tenant is a customer: its keys open the adapters that you list, within its limits, and\n"
      "what it uses is metered. All of it is one SQLite file (--db), which `etch serve --tenants`\n"
      "reads; a running server sees every change at once. docs/tenants.md explains it.\n"
      "\n"
      "Examples:\n"
      "  etch tenant add acme --adapter acme --no-base --requests-per-minute 60 \\\n"
      "    --tokens-per-month 5000000 --price-prompt 0.50 --price-completion 1.50\n"
      "  etch serve model.etch --adapters adapters/ --tenants ~/.local/share/etch/tenants.db\n"
      "  etch tenant add me --all-adapters --admin       an operator's key, for yourself\n"
      "  etch tenant set acme --tokens-per-minute 20000\n"
      "  etch tenant rotate acme --grace 86400           a new key; the old ones end in a day\n"
      "  etch tenant revoke acme\n"
      "  etch tenant usage --from 2026-11 --to 2026-11 --csv > november.csv");
  const std::string database = DefaultDatabase().string();
  enum class Name { kNone, kOptional, kRequired };
  const auto add = [&](const char* name, const char* description, Name takes_name, auto body) {
    auto options = std::make_shared<Options>();
    CLI::App* child = command->add_subcommand(name, description);
    if (takes_name != Name::kNone) {
      child->add_option("NAME", options->name, "The tenant")
          ->required(takes_name == Name::kRequired);
    }
    options->db = database;
    child->add_option("--db", options->db, "File of tenants")->capture_default_str();
    child->add_flag("--json", options->json, "Print one JSON object");
    child->callback([options, exit_code, body] {
      const Status status = body(*options);
      *exit_code = status ? 0 : Report(status.error());
    });
    return std::pair(child, options);
  };
  auto [add_command, add_options] =
      add("add", "Add a tenant; prints its key, once", Name::kRequired, Add);
  AddSettings(*add_command, *add_options);
  add_command->add_flag("--admin", add_options->admin, "Its key also opens the operator's routes");
  add("list", "All tenants with their limits", Name::kNone, List);
  add("show", "One tenant with its keys", Name::kRequired, Show);
  auto [set_command, set_options] =
      add("set", "Change what is given, keep the rest", Name::kRequired, Set);
  AddSettings(*set_command, *set_options);
  auto [revoke_command, revoke_options] =
      add("revoke", "End a tenant's keys, for good; its usage stays", Name::kRequired, Revoke);
  revoke_command->add_option("--key", revoke_options->key,
                             "Only the key with this prefix, as `show` has it");
  auto [rotate_command, rotate_options] =
      add("rotate", "Make a new key; the others end", Name::kRequired, Rotate);
  rotate_command->add_flag("--admin", rotate_options->admin,
                           "The new key also opens the operator's routes");
  CLI::Option* keep = rotate_command->add_flag("--keep", rotate_options->keep, "The others stay");
  rotate_command->add_option("--grace", rotate_options->grace_s, "Seconds until the others end")
      ->check(CLI::Range(0, 366 * 86400))
      ->capture_default_str()
      ->excludes(keep);
  auto [usage_command, usage_options] = add(
      "usage", "Requests, tokens and cost by month, tenant and adapter", Name::kOptional, Usage);
  usage_command->add_option("--from", usage_options->from, "2026-11 or 2026-11-26, UTC");
  usage_command->add_option("--to", usage_options->to, "The last month or day that counts");
  usage_command->add_flag("--csv", usage_options->csv, "CSV with a header line");
  usage_command->add_flag("--requests", usage_options->by_request,
                          "One line a request, as CSV (or with --json)");
}

}  // namespace etch::cli
