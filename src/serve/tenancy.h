#pragma once

// What `etch serve --tenants FILE` adds: who may come in, how much each may use, and what each has
// used.

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "tenant/directory.h"
#include "tenant/limiter.h"
#include "tenant/meter.h"

namespace etch::serve {

class Tenancy {
 public:
  static Result<std::unique_ptr<Tenancy>> Open(const std::filesystem::path& path);

  tenant::Directory& directory() { return *directory_; }
  tenant::Limiter& limiter() { return limiter_; }
  tenant::Meter& meter() { return *meter_; }
  // Writes what is queued and takes no more; before what the meter calls back is gone.
  void StopMeter() { meter_.reset(); }

 private:
  Tenancy() = default;

  tenant::Limiter limiter_;  // the meter calls into it
  std::unique_ptr<tenant::Directory> directory_;
  std::unique_ptr<tenant::Meter> meter_;
};

// Now, for the limiter.
tenant::Moment Now();

// The place of one request within its tenant's limits; given back once. Empty for who has no
// limits.
class Admission {
 public:
  Admission() = default;
  // Of a request that the limiter has admitted.
  Admission(tenant::Limiter& limiter, std::shared_ptr<const tenant::Tenant> tenant,
            int64_t prompt_tokens)
      : limiter_(&limiter), tenant_(std::move(tenant)), prompt_tokens_(prompt_tokens) {}
  Admission(Admission&& other) noexcept { *this = std::move(other); }
  Admission& operator=(Admission&& other) noexcept;
  ~Admission() { Finish(0); }

  void Finish(int64_t completion_tokens);
  // As if it had never been admitted.
  void Return();

 private:
  tenant::Limiter* limiter_ = nullptr;
  std::shared_ptr<const tenant::Tenant> tenant_;
  int64_t prompt_tokens_ = 0;
};

using Headers = std::vector<std::pair<std::string, std::string>>;

// OpenAI's x-ratelimit-* headers, for the limits that there are.
Headers RateHeaders(const tenant::Allowances& allowances);
// "20ms", "7s", "1m30s".
std::string DurationText(double seconds);

}  // namespace etch::serve
