#include "tenant/limiter.h"

#include <algorithm>
#include <cmath>

#include "tenant/calendar.h"

namespace etch::tenant {
namespace {

constexpr double kMinute = 60.0;

int64_t WholeSeconds(double seconds) {
  return std::max<int64_t>(1, static_cast<int64_t>(std::ceil(seconds)));
}

}  // namespace

std::string RefusalName(RefusalReason reason) {
  switch (reason) {
    case RefusalReason::kConcurrent:
      return "concurrent";
    case RefusalReason::kRequests:
      return "requests_per_minute";
    case RefusalReason::kTokens:
      return "tokens_per_minute";
    case RefusalReason::kMonth:
      return "tokens_per_month";
    case RefusalReason::kPromptTooLong:
      break;
  }
  return "prompt_too_long";
}

void Limiter::Bucket::Advance(int64_t limit_now, double now_s) {
  const auto full = static_cast<double>(limit_now);
  if (limit < 0) {
    level = full;
  } else if (limit == 0 || limit_now == 0) {
    level = full;
  } else if (limit_now != limit) {
    level *= full / static_cast<double>(limit);
  }
  limit = limit_now;
  level = std::min(full, level + full * std::max(0.0, now_s - time_s) / kMinute);
  time_s = now_s;
}

Allowance Limiter::Bucket::State() const {
  Allowance out;
  out.limit = limit;
  if (limit > 0) {
    out.remaining = std::max<int64_t>(0, static_cast<int64_t>(std::floor(level)));
    out.reset_s = (static_cast<double>(limit) - level) * kMinute / static_cast<double>(limit);
  }
  return out;
}

double Limiter::Bucket::SecondsUntil(double wanted) const {
  return std::max(0.0, wanted - level) * kMinute / static_cast<double>(limit);
}

std::optional<Refusal> Limiter::Refuse(const Tenant& tenant, const State& state,
                                       int64_t prompt_tokens, const Moment& moment) const {
  const Limits& limits = tenant.limits;
  if (limits.concurrent > 0 && state.running >= limits.concurrent) {
    return Refusal{RefusalReason::kConcurrent,
                   fmt::format("{} requests are under way, the limit is {} at once", state.running,
                               limits.concurrent),
                   1};
  }
  if (limits.requests_per_minute > 0 && state.requests.level < 1.0) {
    return Refusal{
        RefusalReason::kRequests,
        fmt::format("the limit of {} requests per minute is reached", limits.requests_per_minute),
        WholeSeconds(state.requests.SecondsUntil(1.0))};
  }
  const auto prompt = static_cast<double>(prompt_tokens);
  if (limits.tokens_per_minute > 0 && prompt_tokens > limits.tokens_per_minute) {
    return Refusal{RefusalReason::kPromptTooLong,
                   fmt::format("the prompt has {} tokens, more than the limit of {} per minute "
                               "allows at any time",
                               prompt_tokens, limits.tokens_per_minute),
                   0};
  }
  if (limits.tokens_per_minute > 0 && state.tokens.level < prompt) {
    return Refusal{
        RefusalReason::kTokens,
        fmt::format("the prompt has {} tokens; of the limit of {} tokens per minute {} are left",
                    prompt_tokens, limits.tokens_per_minute, state.tokens.State().remaining),
        WholeSeconds(state.tokens.SecondsUntil(prompt))};
  }
  const int64_t used = state.month_tokens + state.prompts_under_way;
  if (limits.tokens_per_month > 0 && used + prompt_tokens > limits.tokens_per_month) {
    return Refusal{
        RefusalReason::kMonth,
        fmt::format("the limit of {} tokens per month is reached: {} are used, the prompt has {}",
                    limits.tokens_per_month, used, prompt_tokens),
        std::max<int64_t>(1, NextMonth(moment.unix_time) - moment.unix_time)};
  }
  return std::nullopt;
}

std::optional<Refusal> Limiter::Admit(const Tenant& tenant, int64_t prompt_tokens,
                                      const Moment& moment) {
  const std::lock_guard lock(mutex_);
  State& state = states_[tenant.id];
  state.requests.Advance(tenant.limits.requests_per_minute, moment.now_s);
  state.tokens.Advance(tenant.limits.tokens_per_minute, moment.now_s);
  if (const int64_t month = MonthOf(moment.unix_time); month > state.month) {
    state.month = month;
    state.month_tokens = 0;
  }
  if (auto refusal = Refuse(tenant, state, prompt_tokens, moment)) {
    return refusal;
  }
  state.requests.level -= 1.0;
  state.tokens.level -= static_cast<double>(prompt_tokens);
  ++state.running;
  state.prompts_under_way += prompt_tokens;
  return std::nullopt;
}

void Limiter::Finish(const Tenant& tenant, int64_t prompt_tokens, int64_t completion_tokens,
                     const Moment& moment) {
  const std::lock_guard lock(mutex_);
  State& state = states_[tenant.id];
  state.tokens.Advance(tenant.limits.tokens_per_minute, moment.now_s);
  state.tokens.level -= static_cast<double>(completion_tokens);
  --state.running;
  state.prompts_under_way -= prompt_tokens;
}

void Limiter::Return(const Tenant& tenant, int64_t prompt_tokens, const Moment& moment) {
  Finish(tenant, prompt_tokens, -prompt_tokens, moment);
  const std::lock_guard lock(mutex_);
  states_[tenant.id].requests.level += 1.0;
}

void Limiter::SetMonthTokens(int64_t tenant_id, int64_t month, int64_t tokens) {
  const std::lock_guard lock(mutex_);
  State& state = states_[tenant_id];
  if (month > state.month || (month == state.month && tokens > state.month_tokens)) {
    state.month = month;
    state.month_tokens = tokens;
  }
}

Allowances Limiter::Remaining(const Tenant& tenant, const Moment& moment) {
  const std::lock_guard lock(mutex_);
  State& state = states_[tenant.id];
  state.requests.Advance(tenant.limits.requests_per_minute, moment.now_s);
  state.tokens.Advance(tenant.limits.tokens_per_minute, moment.now_s);
  return {state.requests.State(), state.tokens.State()};
}

}  // namespace etch::tenant
