#include "tenant/tenant.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <utility>

namespace etch::tenant {
namespace {

bool IsNameCharacter(char character) {
  return std::isalnum(static_cast<unsigned char>(character)) != 0 || character == '.' ||
         character == '_' || character == '-';
}

bool IsDigit(char character) { return character >= '0' && character <= '9'; }

Status ValidateLimits(const Limits& limits) {
  const std::array<std::pair<const char*, int64_t>, 5> fields = {
      {{"requests per minute", limits.requests_per_minute},
       {"tokens per minute", limits.tokens_per_minute},
       {"tokens per month", limits.tokens_per_month},
       {"concurrent requests", limits.concurrent},
       {"context", limits.context}}};
  for (const auto& [name, value] : fields) {
    if (value < 0 || value > kMaxLimit) {
      return Fail(ErrorCode::kInvalidArgument, "the limit of {} is {}; it is 0 (none) to {}", name,
                  value, kMaxLimit);
    }
  }
  return {};
}

}  // namespace

bool Tenant::MayUseAdapter(std::string_view adapter) const {
  return all_adapters || std::ranges::binary_search(adapters, adapter);
}

Status ValidateTenant(const Tenant& tenant) {
  if (tenant.name.empty() || tenant.name.size() > kMaxNameLength ||
      !std::ranges::all_of(tenant.name, IsNameCharacter)) {
    return Fail(ErrorCode::kInvalidArgument,
                "\"{}\" is no name of a tenant: 1 to {} letters, digits, dots, dashes and "
                "underlines",
                tenant.name, kMaxNameLength);
  }
  if (tenant.adapters.size() > kMaxAdapters) {
    return Fail(ErrorCode::kInvalidArgument, "a tenant has at most {} adapters", kMaxAdapters);
  }
  for (const std::string& adapter : tenant.adapters) {
    const bool is_plain = std::ranges::none_of(
        adapter, [](char character) { return static_cast<unsigned char>(character) < 0x20; });
    if (adapter.empty() || adapter.size() > kMaxAdapterNameLength || !is_plain) {
      return Fail(ErrorCode::kInvalidArgument,
                  "\"{}\" is no name of an adapter: 1 to {} characters on one line", adapter,
                  kMaxAdapterNameLength);
    }
  }
  for (const int64_t price : {tenant.prices.prompt_micros, tenant.prices.completion_micros}) {
    if (price < 0 || price > kMaxPriceMicros) {
      return Fail(ErrorCode::kInvalidArgument, "a price for a million tokens is 0 to {}",
                  FormatMicros(kMaxPriceMicros));
    }
  }
  return ValidateLimits(tenant.limits);
}

Result<int64_t> ParseMicros(std::string_view text) {
  const size_t point = std::min(text.find('.'), text.size());
  const std::string_view whole = text.substr(0, point);
  const std::string_view part = point < text.size() ? text.substr(point + 1) : "";
  const bool is_number = !whole.empty() && whole.size() <= 9 && part.size() <= 6 &&
                         (point == text.size() || !part.empty()) &&
                         std::ranges::all_of(whole, IsDigit) && std::ranges::all_of(part, IsDigit);
  if (!is_number) {
    return Fail(ErrorCode::kInvalidArgument,
                "\"{}\" is no price: digits, and at most six behind a point, as in 2.50", text);
  }
  int64_t micros = 0;
  for (const char digit : whole) {
    micros = micros * 10 + (digit - '0');
  }
  for (size_t place = 0; place < 6; ++place) {
    micros = micros * 10 + (place < part.size() ? part[place] - '0' : 0);
  }
  return micros;
}

std::string FormatMicros(int64_t micros) {
  std::string text = fmt::format("{}.{:06}", micros / 1'000'000, micros % 1'000'000);
  while (text.ends_with('0') && text[text.size() - 3] != '.') {  // two places stay
    text.pop_back();
  }
  return text;
}

}  // namespace etch::tenant
