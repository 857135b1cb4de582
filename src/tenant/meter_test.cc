#include "tenant/meter.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <set>
#include <thread>

#include "support/data.h"
#include "tenant/calendar.h"
#include "tenant/store.h"

namespace etch::tenant {
namespace {

UsageRecord Used(int64_t tenant_id, const std::string& answer) {
  UsageRecord record;
  record.answer_id = answer;
  record.time = 1795651200;
  record.tenant_id = tenant_id;
  record.prompt_tokens = 2;
  record.completion_tokens = 3;
  return record;
}

class MeterTest : public ::testing::Test {
 protected:
  MeterTest() {
    Tenant tenant;
    tenant.name = "acme";
    EXPECT_TRUE(store_.Add(tenant, false, 0));
  }

  const std::filesystem::path path_ = test::TemporaryFolder() / "tenants.db";
  Store store_ = *Store::Create(path_);
};

TEST_F(MeterTest, WhatIsDoneIsStoredAndSummed) {
  std::atomic<int64_t> month_tokens = 0;
  const auto meter = *Meter::Start(path_, [&](int64_t tenant, int64_t month, int64_t tokens) {
    EXPECT_EQ(tenant, 1);
    EXPECT_EQ(month, 202611);
    month_tokens = tokens;
  });
  for (int count = 1; count <= 20; ++count) {
    std::promise<bool> done;
    meter->Record(Used(1, std::to_string(count)), [&](const Status& status) {
      EXPECT_EQ(month_tokens, 5 * count);
      done.set_value(status.has_value());
    });
    ASSERT_TRUE(done.get_future().get());
    EXPECT_EQ(store_.Rows({})->size(), static_cast<size_t>(count));
  }
}

TEST_F(MeterTest, ManyThreadsLoseNothing) {
  constexpr int kThreads = 8;
  constexpr int kEach = 50;
  std::atomic<int> stored = 0;
  {
    const auto meter = *Meter::Start(path_, {});
    std::vector<std::thread> threads;
    for (int thread = 0; thread < kThreads; ++thread) {
      threads.emplace_back([&, thread] {
        for (int count = 0; count < kEach; ++count) {
          meter->Record(Used(1, fmt::format("{}-{}", thread, count)),
                        [&](const Status& status) { stored += status ? 1 : 0; });
        }
      });
    }
    for (std::thread& thread : threads) {
      thread.join();
    }
  }  // the end of the meter waits for what is queued
  EXPECT_EQ(stored, kThreads * kEach);
  std::set<std::string> answers;
  const std::vector<UsageRow> rows = *store_.Rows({});
  for (const UsageRow& row : rows) {
    answers.insert(row.record.answer_id);
  }
  EXPECT_EQ(answers.size(), static_cast<size_t>(kThreads * kEach));
  EXPECT_EQ(*store_.MonthTokens(1, 202611), 5 * kThreads * kEach);
}

TEST_F(MeterTest, ARecordThatCannotBeStoredFailsAlone) {
  std::atomic<int> stored = 0;
  std::atomic<int> failed = 0;
  {
    // While the store is locked records pile up into one batch.
    Database lock = *Database::Open(path_, Database::Mode::kExisting);
    ASSERT_TRUE(lock.Execute("BEGIN IMMEDIATE"));
    const auto meter = *Meter::Start(path_, {});
    for (int count = 0; count < 10; ++count) {
      meter->Record(Used(count == 5 ? 99 : 1, std::to_string(count)),
                    [&](const Status& status) { ++(status ? stored : failed); });
    }
    ASSERT_TRUE(lock.Execute("COMMIT"));
  }
  EXPECT_EQ(stored, 9);
  EXPECT_EQ(failed, 1);
  EXPECT_EQ(store_.Rows({})->size(), 9U);
}

TEST_F(MeterTest, ItNeedsAStore) {
  const auto meter = Meter::Start(path_.parent_path() / "none.db", {});
  ASSERT_FALSE(meter);
  EXPECT_EQ(meter.error().code, ErrorCode::kNotFound);
}

}  // namespace
}  // namespace etch::tenant
