#include "serve/tenancy.h"

#include <chrono>
#include <cmath>

#include "tenant/calendar.h"
#include "tenant/store.h"

namespace etch::serve {

Result<std::unique_ptr<Tenancy>> Tenancy::Open(const std::filesystem::path& path) {
  std::unique_ptr<Tenancy> tenancy(new Tenancy());
  ETCH_ASSIGN_OR_RETURN(tenancy->directory_, tenant::Directory::Open(path));
  ETCH_ASSIGN_OR_RETURN(tenant::Store store, tenant::Store::Open(path));
  const int64_t month = tenant::MonthOf(tenant::UnixTime());
  ETCH_ASSIGN_OR_RETURN(const auto used, store.MonthTokensOfAll(month));
  for (const auto& [id, tokens] : used) {
    tenancy->limiter_.SetMonthTokens(id, month, tokens);
  }
  tenant::Limiter& limiter = tenancy->limiter_;
  ETCH_ASSIGN_OR_RETURN(
      tenancy->meter_,
      tenant::Meter::Start(path, [&limiter](int64_t id, int64_t of_month, int64_t tokens) {
        limiter.SetMonthTokens(id, of_month, tokens);
      }));
  return tenancy;
}

tenant::Moment Now() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return {std::chrono::duration<double>(now).count(), tenant::UnixTime()};
}

Admission& Admission::operator=(Admission&& other) noexcept {
  if (this != &other) {
    Finish(0);
    limiter_ = std::exchange(other.limiter_, nullptr);
    tenant_ = std::move(other.tenant_);
    prompt_tokens_ = other.prompt_tokens_;
  }
  return *this;
}

void Admission::Finish(int64_t completion_tokens) {
  if (tenant::Limiter* limiter = std::exchange(limiter_, nullptr)) {
    limiter->Finish(*tenant_, prompt_tokens_, completion_tokens, Now());
  }
}

void Admission::Return() {
  if (tenant::Limiter* limiter = std::exchange(limiter_, nullptr)) {
    limiter->Return(*tenant_, prompt_tokens_, Now());
  }
}

std::string DurationText(double seconds) {
  if (seconds < 1.0) {
    return fmt::format("{}ms", static_cast<int64_t>(std::ceil(seconds * 1000.0)));
  }
  const auto whole = static_cast<int64_t>(std::ceil(seconds));
  return whole < 60 ? fmt::format("{}s", whole) : fmt::format("{}m{}s", whole / 60, whole % 60);
}

Headers RateHeaders(const tenant::Allowances& allowances) {
  Headers headers;
  const auto add = [&headers](const std::string& what, const tenant::Allowance& allowance) {
    if (allowance.limit > 0) {
      headers.emplace_back("x-ratelimit-limit-" + what, std::to_string(allowance.limit));
      headers.emplace_back("x-ratelimit-remaining-" + what, std::to_string(allowance.remaining));
      headers.emplace_back("x-ratelimit-reset-" + what, DurationText(allowance.reset_s));
    }
  };
  add("requests", allowances.requests);
  add("tokens", allowances.tokens);
  return headers;
}

}  // namespace etch::serve
