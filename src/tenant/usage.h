#pragma once

// What is metered, and what is made of it: one record a finished request, totals, a bill, CSV.

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "tenant/tenant.h"

namespace etch::tenant {

enum class Outcome {
  kCompleted,  // the answer was ready in whole
  kCancelled,  // the client left; counted for what was computed until then
};
std::string OutcomeName(Outcome outcome);  // "completed", "cancelled"

struct UsageRecord {
  std::string answer_id;  // the id in the answer's body; unique, so that nothing is counted twice
  std::string request_id;
  int64_t time = 0;  // Unix seconds
  int64_t tenant_id = 0;
  std::string key_prefix;
  std::string adapter;  // "" for the base
  Outcome outcome = Outcome::kCompleted;
  int64_t prompt_tokens = 0;  // cached ones among them
  int64_t completion_tokens = 0;
  int64_t cached_tokens = 0;
  Prices prices;  // of the tenant at that time: a bill does not change when prices do
};

// A record as it is read back.
struct UsageRow {
  UsageRecord record;
  std::string tenant;
};

// Sums of one month, tenant and adapter.
struct UsageTotal {
  int64_t month = 0;  // 202611
  std::string tenant;
  std::string adapter;
  int64_t requests = 0;
  int64_t prompt_tokens = 0;
  int64_t completion_tokens = 0;
  int64_t cached_tokens = 0;
  int64_t cost_micros = 0;  // rounded once, half up
};

// Sums of one month, tenant, adapter and price, as the store gives them.
struct PricedSum {
  UsageTotal total;  // without cost
  Prices prices;
};
// Adds up neighbours that differ in their prices only.
std::vector<UsageTotal> AddPrices(const std::vector<PricedSum>& sums);

// With a header line; lines end in \r\n, fields are quoted where they must be (RFC 4180).
std::string TotalsCsv(const std::vector<UsageTotal>& totals);
std::string RowsCsv(const std::vector<UsageRow>& rows);

}  // namespace etch::tenant
