#pragma once

// The limits of tenants: buckets for what a minute allows, a count of what is under way, and the
// month's tokens as the meter has written them.

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "tenant/tenant.h"

namespace etch::tenant {

enum class RefusalReason { kConcurrent, kRequests, kTokens, kMonth, kPromptTooLong };
std::string RefusalName(RefusalReason reason);  // "concurrent", "requests_per_minute" …

struct Refusal {
  RefusalReason reason = RefusalReason::kRequests;
  std::string message;
  int64_t retry_after_s = 0;  // 0: waiting does not help
};

// One bucket as a client is told about it.
struct Allowance {
  int64_t limit = 0;  // 0: none
  int64_t remaining = 0;
  double reset_s = 0.0;  // until the bucket is full
};

struct Allowances {
  Allowance requests;
  Allowance tokens;
};

// Times: `now_s` is of a clock that only goes forward; `unix_time` tells the month.
struct Moment {
  double now_s = 0.0;
  int64_t unix_time = 0;
};

// A bucket holds what a minute allows, is full at the start, and fills evenly. A request takes one
// from the first and its prompt's tokens from the second when it is admitted; its answer's tokens
// are taken when they are known, which may leave a debt that later requests wait for. The tokens of
// a month are those of the store and the prompts under way. Buckets live in memory: a restart fills
// them. Thread-safe.
class Limiter {
 public:
  // Takes what the request needs and counts it as under way, or takes nothing and says why.
  std::optional<Refusal> Admit(const Tenant& tenant, int64_t prompt_tokens, const Moment& moment);
  // The end of an admitted request.
  void Finish(const Tenant& tenant, int64_t prompt_tokens, int64_t completion_tokens,
              const Moment& moment);
  // Undoes Admit: the request never began.
  void Return(const Tenant& tenant, int64_t prompt_tokens, const Moment& moment);
  // What the store knows; `month` is 202611.
  void SetMonthTokens(int64_t tenant_id, int64_t month, int64_t tokens);

  Allowances Remaining(const Tenant& tenant, const Moment& moment);

 private:
  struct Bucket {
    double level = 0.0;
    double time_s = 0.0;
    int64_t limit = -1;  // of the last look; -1: none yet

    // Fills up to `now_s`; a changed limit begins with what was left, in proportion.
    void Advance(int64_t limit_now, double now_s);
    Allowance State() const;
    // Seconds until `wanted` are there.
    double SecondsUntil(double wanted) const;
  };
  struct State {
    Bucket requests;
    Bucket tokens;
    int64_t running = 0;
    int64_t prompts_under_way = 0;  // tokens
    int64_t month = 0;
    int64_t month_tokens = 0;
  };

  std::optional<Refusal> Refuse(const Tenant& tenant, const State& state, int64_t prompt_tokens,
                                const Moment& moment) const;

  std::mutex mutex_;
  std::map<int64_t, State> states_;  // by tenant id
};

}  // namespace etch::tenant
