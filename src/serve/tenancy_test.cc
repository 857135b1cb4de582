#include "serve/tenancy.h"

#include <gtest/gtest.h>

#include "support/data.h"
#include "tenant/calendar.h"
#include "tenant/store.h"

namespace etch::serve {
namespace {

TEST(Tenancy, DurationsReadAsTheApiHasThem) {
  EXPECT_EQ(DurationText(0.0), "0ms");
  EXPECT_EQ(DurationText(0.0192), "20ms");
  EXPECT_EQ(DurationText(6.2), "7s");
  EXPECT_EQ(DurationText(60.0), "1m0s");
  EXPECT_EQ(DurationText(90.0), "1m30s");
}

TEST(Tenancy, HeadersSayWhatLimitsThereAre) {
  EXPECT_TRUE(RateHeaders({}).empty());
  const Headers wanted = {{"x-ratelimit-limit-tokens", "100"},
                          {"x-ratelimit-remaining-tokens", "40"},
                          {"x-ratelimit-reset-tokens", "36s"}};
  EXPECT_EQ(RateHeaders({{}, {100, 40, 36.0}}), wanted);
}

TEST(Tenancy, AnAdmissionIsGivenBackOnce) {
  auto tenant = std::make_shared<tenant::Tenant>();
  tenant->id = 1;
  tenant->limits.concurrent = 1;
  tenant->limits.requests_per_minute = 2;
  tenant::Limiter limiter;
  const auto admit = [&] { return !limiter.Admit(*tenant, 1, Now()); };
  {
    ASSERT_TRUE(admit());
    Admission first(limiter, tenant, 1);
    EXPECT_FALSE(admit());
    Admission moved = std::move(first);
    moved.Finish(5);
    moved.Finish(5);
    ASSERT_TRUE(admit());
    moved = Admission(limiter, tenant, 1);
  }
  tenant->limits.requests_per_minute = 0;
  ASSERT_TRUE(admit()) << "the end of an admission gives its place back";
  EXPECT_FALSE(admit()) << "and only one place";
  Admission(limiter, tenant, 1).Return();
  EXPECT_TRUE(admit());
}

TEST(Tenancy, TheMonthIsKnownAfterAStart) {
  const auto path = test::TemporaryFolder() / "tenants.db";
  tenant::Store store = *tenant::Store::Create(path);
  tenant::Tenant tenant;
  tenant.name = "acme";
  tenant.limits.tokens_per_month = 100;
  ASSERT_TRUE(store.Add(tenant, false, 1));
  tenant::UsageRecord record;
  record.answer_id = "a";
  record.time = tenant::UnixTime();
  record.tenant_id = 1;
  record.prompt_tokens = 90;
  ASSERT_TRUE(store.Record(std::vector{record}));
  const auto tenancy = *Tenancy::Open(path);
  const tenant::Tenant present = *store.Find("acme");
  EXPECT_TRUE(tenancy->limiter().Admit(present, 11, Now()));
  EXPECT_FALSE(tenancy->limiter().Admit(present, 10, Now()));
}

}  // namespace
}  // namespace etch::serve
