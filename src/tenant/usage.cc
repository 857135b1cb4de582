#include "tenant/usage.h"

#include <iterator>

#include "tenant/calendar.h"

namespace etch::tenant {
namespace {

// Millionths of millionths of a currency unit: tokens times the price of a million of them.
__extension__ using Wide = __int128;

bool SameGroup(const UsageTotal& left, const UsageTotal& right) {
  return left.month == right.month && left.tenant == right.tenant && left.adapter == right.adapter;
}

std::string Quoted(const std::string& field) {
  if (field.find_first_of(",\"\r\n") == std::string::npos) {
    return field;
  }
  std::string out = "\"";
  for (const char character : field) {
    out += character == '"' ? "\"\"" : std::string(1, character);
  }
  return out + "\"";
}

}  // namespace

std::string OutcomeName(Outcome outcome) {
  return outcome == Outcome::kCompleted ? "completed" : "cancelled";
}

std::vector<UsageTotal> AddPrices(const std::vector<PricedSum>& sums) {
  std::vector<UsageTotal> totals;
  Wide cost = 0;
  for (size_t at = 0; at < sums.size(); ++at) {
    const auto& [sum, prices] = sums[at];
    if (totals.empty() || !SameGroup(totals.back(), sum)) {
      totals.push_back({sum.month, sum.tenant, sum.adapter, 0, 0, 0, 0, 0});
      cost = 0;
    }
    UsageTotal& total = totals.back();
    total.requests += sum.requests;
    total.prompt_tokens += sum.prompt_tokens;
    total.completion_tokens += sum.completion_tokens;
    total.cached_tokens += sum.cached_tokens;
    cost += Wide{sum.prompt_tokens} * prices.prompt_micros +
            Wide{sum.completion_tokens} * prices.completion_micros;
    total.cost_micros = static_cast<int64_t>((cost + 500'000) / 1'000'000);
  }
  return totals;
}

std::string TotalsCsv(const std::vector<UsageTotal>& totals) {
  std::string csv =
      "month,tenant,adapter,requests,prompt_tokens,completion_tokens,cached_tokens,cost\r\n";
  for (const UsageTotal& total : totals) {
    fmt::format_to(std::back_inserter(csv), "{},{},{},{},{},{},{},{}\r\n", FormatMonth(total.month),
                   Quoted(total.tenant), Quoted(total.adapter), total.requests, total.prompt_tokens,
                   total.completion_tokens, total.cached_tokens, FormatMicros(total.cost_micros));
  }
  return csv;
}

std::string RowsCsv(const std::vector<UsageRow>& rows) {
  std::string csv =
      "time,tenant,key,adapter,answer_id,request_id,outcome,prompt_tokens,completion_tokens,"
      "cached_tokens,price_prompt,price_completion\r\n";
  for (const auto& [record, tenant] : rows) {
    fmt::format_to(std::back_inserter(csv), "{},{},{},{},{},{},{},{},{},{},{},{}\r\n",
                   FormatTime(record.time), Quoted(tenant), record.key_prefix,
                   Quoted(record.adapter), record.answer_id, Quoted(record.request_id),
                   OutcomeName(record.outcome), record.prompt_tokens, record.completion_tokens,
                   record.cached_tokens, FormatMicros(record.prices.prompt_micros),
                   FormatMicros(record.prices.completion_micros));
  }
  return csv;
}

}  // namespace etch::tenant
