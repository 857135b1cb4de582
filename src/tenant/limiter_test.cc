#include "tenant/limiter.h"

#include <gtest/gtest.h>

#include "tenant/calendar.h"

namespace etch::tenant {
namespace {

constexpr int64_t kUnix = 1795651200;  // 2026-11-26, 00:00

class LimiterTest : public ::testing::Test {
 protected:
  // The reason of a refusal at `now_s`, "" when admitted.
  std::string Ask(double now_s, int64_t prompt = 1) {
    refusal_ = limiter_.Admit(tenant_, prompt, At(now_s));
    return refusal_ ? RefusalName(refusal_->reason) : "";
  }
  static Moment At(double now_s) { return {now_s, kUnix + static_cast<int64_t>(now_s)}; }

  Tenant tenant_ = [] {
    Tenant tenant;
    tenant.id = 1;
    return tenant;
  }();
  Limiter limiter_;
  std::optional<Refusal> refusal_;
};

TEST_F(LimiterTest, WithoutLimitsAllIsAdmitted) {
  for (int count = 0; count < 1000; ++count) {
    ASSERT_EQ(Ask(0.0, 1'000'000), "");
  }
  EXPECT_EQ(limiter_.Remaining(tenant_, At(0.0)).requests.limit, 0);
}

TEST_F(LimiterTest, RequestsFillEvenly) {
  tenant_.limits.requests_per_minute = 6;  // one in ten seconds
  for (int count = 0; count < 6; ++count) {
    EXPECT_EQ(limiter_.Remaining(tenant_, At(0.0)).requests.remaining, 6 - count);
    ASSERT_EQ(Ask(0.0), "");
  }
  EXPECT_EQ(Ask(0.0), "requests_per_minute");
  EXPECT_EQ(refusal_->retry_after_s, 10);
  EXPECT_DOUBLE_EQ(limiter_.Remaining(tenant_, At(0.0)).requests.reset_s, 60.0);
  EXPECT_EQ(Ask(4.5), "requests_per_minute");
  EXPECT_EQ(refusal_->retry_after_s, 6) << "5.5 seconds, rounded up";
  EXPECT_EQ(Ask(10.0), "");
  EXPECT_EQ(Ask(10.0), "requests_per_minute") << "a refusal takes nothing and gives nothing";
  EXPECT_EQ(Ask(20.0), "");
  EXPECT_EQ(limiter_.Remaining(tenant_, At(1000.0)).requests.remaining, 6) << "not more than full";
}

TEST_F(LimiterTest, AnswersAreTakenWhenTheyAreKnown) {
  tenant_.limits.tokens_per_minute = 60;  // one a second
  ASSERT_EQ(Ask(0.0, 20), "");
  EXPECT_EQ(limiter_.Remaining(tenant_, At(0.0)).tokens.remaining, 40);
  limiter_.Finish(tenant_, 20, 70, At(0.0));  // 30 of debt
  EXPECT_EQ(limiter_.Remaining(tenant_, At(0.0)).tokens.remaining, 0);
  EXPECT_EQ(Ask(0.0, 10), "tokens_per_minute");
  EXPECT_EQ(refusal_->retry_after_s, 40);
  EXPECT_EQ(Ask(39.9, 10), "tokens_per_minute");
  EXPECT_EQ(Ask(40.1, 10), "");
  EXPECT_EQ(Ask(0.0, 61), "prompt_too_long");
  EXPECT_EQ(refusal_->retry_after_s, 0) << "no wait helps";
}

TEST_F(LimiterTest, WhatNeverBeganIsGivenBack) {
  tenant_.limits = {2, 100, 0, 1, 0};
  ASSERT_EQ(Ask(0.0, 30), "");
  limiter_.Return(tenant_, 30, At(0.0));
  const Allowances left = limiter_.Remaining(tenant_, At(0.0));
  EXPECT_EQ(left.requests.remaining, 2);
  EXPECT_EQ(left.tokens.remaining, 100);
  EXPECT_EQ(Ask(0.0, 100), "") << "nothing is under way";
}

TEST_F(LimiterTest, OnlySoManyAtOnce) {
  tenant_.limits.concurrent = 2;
  ASSERT_EQ(Ask(0.0), "");
  ASSERT_EQ(Ask(0.0), "");
  EXPECT_EQ(Ask(0.0), "concurrent");
  EXPECT_EQ(refusal_->retry_after_s, 1);
  limiter_.Finish(tenant_, 1, 5, At(0.0));
  EXPECT_EQ(Ask(0.0), "");
}

TEST_F(LimiterTest, AMonthCountsWhatIsStoredAndWhatIsUnderWay) {
  tenant_.limits.tokens_per_month = 100;
  limiter_.SetMonthTokens(1, 202611, 60);
  ASSERT_EQ(Ask(0.0, 30), "");
  EXPECT_EQ(Ask(0.0, 20), "tokens_per_month");
  EXPECT_EQ(refusal_->retry_after_s, NextMonth(kUnix) - kUnix);
  limiter_.SetMonthTokens(1, 202611, 95);  // the meter, then the end of the request
  limiter_.Finish(tenant_, 30, 5, At(0.0));
  EXPECT_EQ(Ask(0.0, 6), "tokens_per_month");
  EXPECT_EQ(Ask(0.0, 5), "");
  limiter_.SetMonthTokens(1, 202611, 40);
  EXPECT_EQ(Ask(0.0, 6), "tokens_per_month") << "an older sum of the same month changes nothing";
  limiter_.SetMonthTokens(1, 202610, 0);
  EXPECT_EQ(Ask(0.0, 6), "tokens_per_month") << "nor does an older month";
  const auto in_december = static_cast<double>(NextMonth(kUnix) - kUnix);
  EXPECT_EQ(Ask(in_december, 90), "");
}

TEST_F(LimiterTest, ALimitThatChangesKeepsTheShareThatWasLeft) {
  tenant_.limits.requests_per_minute = 10;
  for (int count = 0; count < 5; ++count) {
    ASSERT_EQ(Ask(0.0), "");
  }
  tenant_.limits.requests_per_minute = 100;
  EXPECT_EQ(limiter_.Remaining(tenant_, At(0.0)).requests.remaining, 50);
  tenant_.limits.requests_per_minute = 0;
  EXPECT_EQ(Ask(0.0), "");
  tenant_.limits.requests_per_minute = 3;
  EXPECT_EQ(limiter_.Remaining(tenant_, At(0.0)).requests.remaining, 3);
}

TEST_F(LimiterTest, TenantsDoNotShare) {
  tenant_.limits.requests_per_minute = 1;
  ASSERT_EQ(Ask(0.0), "");
  ASSERT_EQ(Ask(0.0), "requests_per_minute");
  tenant_.id = 2;
  EXPECT_EQ(Ask(0.0), "");
}

}  // namespace
}  // namespace etch::tenant
