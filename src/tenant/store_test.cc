#include "tenant/store.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>

#include "support/data.h"
#include "tenant/api_key.h"
#include "tenant/calendar.h"

namespace etch::tenant {
namespace {

constexpr int64_t kNow = 1795651200;  // 2026-11-26

Tenant Acme() {
  Tenant tenant;
  tenant.name = "acme";
  tenant.adapters = {"acme-1", "acme-2"};
  tenant.base = false;
  tenant.limits = {10, 1000, 100000, 4, 512};
  tenant.prices = {1'500'000, 4'000'000};
  return tenant;
}

UsageRecord Used(int64_t tenant_id, const std::string& answer, int64_t time, int64_t prompt,
                 int64_t completion) {
  UsageRecord record;
  record.answer_id = answer;
  record.request_id = "request-" + answer;
  record.time = time;
  record.tenant_id = tenant_id;
  record.key_prefix = "etch_000000000000";
  record.adapter = "acme-1";
  record.prompt_tokens = prompt;
  record.completion_tokens = completion;
  record.prices = {1'500'000, 4'000'000};
  return record;
}

class StoreTest : public ::testing::Test {
 protected:
  const std::filesystem::path path_ = test::TemporaryFolder() / "folder" / "tenants.db";
  Store store_ = *Store::Create(path_);
};

TEST_F(StoreTest, ATenantComesBackAsItWent) {
  const std::string key = *store_.Add(Acme(), true, kNow);
  Store again = *Store::Open(path_);
  Tenant wanted = Acme();
  wanted.id = 1;
  wanted.created = kNow;
  EXPECT_EQ(*again.Find("acme"), wanted);
  const std::vector<Key> keys = *again.Keys(1);
  ASSERT_EQ(keys.size(), 1U);
  EXPECT_EQ(keys[0].prefix, KeyPrefix(key));
  EXPECT_EQ(keys[0].digest, Digest(key));
  EXPECT_TRUE(keys[0].admin);
  EXPECT_TRUE(keys[0].ValidAt(kNow));
}

TEST_F(StoreTest, NoByteOfTheFilesHoldsASecret) {
  const std::string key = *store_.Add(Acme(), false, kNow);
  const std::string secret = key.substr(KeyPrefix(key).size());
  for (const auto& entry : std::filesystem::directory_iterator(path_.parent_path())) {
    std::ifstream in(entry.path(), std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(in)), {});
    EXPECT_EQ(bytes.find(secret), std::string::npos) << entry.path();
  }
}

TEST_F(StoreTest, SetReplacesAndNamesAreUnique) {
  ASSERT_TRUE(store_.Add(Acme(), false, kNow));
  const auto twice = store_.Add(Acme(), false, kNow);
  ASSERT_FALSE(twice);
  EXPECT_NE(twice.error().message.find("already"), std::string::npos);
  Tenant changed = *store_.Find("acme");
  changed.adapters = {"other"};
  changed.all_adapters = true;
  changed.base = true;
  changed.limits = {};
  changed.prices = {7, 8};
  ASSERT_TRUE(store_.Update(changed));
  EXPECT_EQ(*store_.Find("acme"), changed);
  Tenant absent = Acme();
  absent.name = "nobody";
  EXPECT_EQ(store_.Update(absent).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(store_.Find("").error().code, ErrorCode::kNotFound);
}

TEST_F(StoreTest, FieldsThatMakeNoSenseAreRefused) {
  const auto refused = [&](auto change) {
    Tenant tenant = Acme();
    change(tenant);
    const auto added = store_.Add(tenant, false, kNow);
    return added ? std::string() : added.error().message;
  };
  for (const std::string& name : {std::string(), std::string("a b"), std::string("a/b"),
                                  std::string(65, 'a'), std::string("ä"), std::string("a,b")}) {
    EXPECT_NE(refused([&](Tenant& tenant) { tenant.name = name; }).find("no name of a tenant"),
              std::string::npos)
        << name;
  }
  EXPECT_NE(refused([](Tenant& tenant) { tenant.adapters = {"a\nb"}; }).find("adapter"),
            std::string::npos);
  EXPECT_NE(refused([](Tenant& tenant) { tenant.adapters.assign(5000, "a"); }).find("4096"),
            std::string::npos);
  EXPECT_NE(refused([](Tenant& tenant) { tenant.limits.context = -1; }).find("limit of context"),
            std::string::npos);
  EXPECT_NE(refused([](Tenant& tenant) { tenant.prices.prompt_micros = -1; }).find("price"),
            std::string::npos);
  EXPECT_TRUE(store_.Tenants()->empty()) << "nothing of a refused tenant stays";
}

TEST_F(StoreTest, RotationEndsTheOtherKeys) {
  const std::string first = *store_.Add(Acme(), false, kNow);
  const std::string kept = *store_.NewKey("acme", true, 0, kNow + 1);
  const std::string last = *store_.NewKey("acme", false, kNow + 100, kNow + 2);
  const std::vector<Key> keys = *store_.Keys(1);
  ASSERT_EQ(keys.size(), 3U);
  EXPECT_EQ(keys[2].prefix, KeyPrefix(last));
  for (const size_t old : {0U, 1U}) {
    EXPECT_TRUE(keys[old].ValidAt(kNow + 99));
    EXPECT_FALSE(keys[old].ValidAt(kNow + 100));
  }
  EXPECT_TRUE(keys[1].admin);
  EXPECT_TRUE(keys[2].ValidAt(kNow + 1000000));
  EXPECT_EQ(store_.NewKey("nobody", false, 0, kNow).error().code, ErrorCode::kNotFound);
}

TEST_F(StoreTest, RevocationEndsOneKeyOrAll) {
  const std::string first = *store_.Add(Acme(), false, kNow);
  const std::string second = *store_.NewKey("acme", false, 0, kNow);
  Tenant other = Acme();
  other.name = "other";
  ASSERT_TRUE(store_.Add(other, false, kNow));
  EXPECT_EQ(store_.RevokeKey("other", std::string(KeyPrefix(first)), kNow).error().code,
            ErrorCode::kNotFound);
  ASSERT_TRUE(store_.RevokeKey("acme", std::string(KeyPrefix(first)), kNow));
  EXPECT_FALSE((*store_.Keys(1))[0].ValidAt(kNow));
  EXPECT_TRUE((*store_.Keys(1))[1].ValidAt(kNow));
  ASSERT_TRUE(store_.Revoke("acme", kNow + 5));
  EXPECT_EQ(store_.Find("acme")->revoked, kNow + 5);
  EXPECT_EQ((*store_.Keys(1))[0].revoked, kNow) << "the earlier end stays";
  EXPECT_FALSE((*store_.Keys(1))[1].ValidAt(kNow + 5));
  EXPECT_TRUE((*store_.Keys(2))[0].ValidAt(kNow + 5));
  EXPECT_NE(store_.NewKey("acme", false, 0, kNow).error().message.find("revoked"),
            std::string::npos);
  EXPECT_EQ(store_.Revoke("nobody", kNow).error().code, ErrorCode::kNotFound);
}

TEST_F(StoreTest, ChangesShowInTheGenerationUsageDoesNot) {
  Store other = *Store::Open(path_);
  const int64_t version = *other.DataVersion();
  const int64_t generation = *other.Generation();
  ASSERT_TRUE(store_.Add(Acme(), false, kNow));
  EXPECT_NE(*other.DataVersion(), version);
  EXPECT_EQ(*other.Generation(), generation + 1);
  const int64_t later = *other.DataVersion();
  ASSERT_TRUE(store_.Record(std::vector{Used(1, "a", kNow, 1, 1)}));
  EXPECT_NE(*other.DataVersion(), later);
  EXPECT_EQ(*other.Generation(), generation + 1);
}

TEST_F(StoreTest, AnAnswerIsCountedOnce) {
  ASSERT_TRUE(store_.Add(Acme(), false, kNow));
  ASSERT_TRUE(store_.Record(std::vector{Used(1, "a", kNow, 10, 20), Used(1, "b", kNow, 1, 2),
                                        Used(1, "a", kNow, 10, 20)}));
  ASSERT_TRUE(store_.Record(std::vector{Used(1, "a", kNow, 10, 20)}));
  const std::vector<UsageTotal> totals = *store_.Totals({});
  ASSERT_EQ(totals.size(), 1U);
  EXPECT_EQ(totals[0].requests, 2);
  EXPECT_EQ(totals[0].prompt_tokens, 11);
  EXPECT_EQ(totals[0].completion_tokens, 22);
  EXPECT_EQ(totals[0].cost_micros, (11 * 1'500'000 + 22 * 4'000'000 + 500'000) / 1'000'000);
  EXPECT_EQ(*store_.MonthTokens(1, MonthOf(kNow)), 33);
  EXPECT_EQ(*store_.MonthTokens(1, 202512), 0);
  EXPECT_EQ(store_.MonthTokensOfAll(MonthOf(kNow))->at(1), 33);
}

TEST_F(StoreTest, ABatchWithARecordOfNobodyLeavesNothing) {
  ASSERT_TRUE(store_.Add(Acme(), false, kNow));
  EXPECT_FALSE(store_.Record(std::vector{Used(1, "a", kNow, 1, 1), Used(99, "b", kNow, 1, 1)}));
  EXPECT_TRUE(store_.Rows({})->empty());
  EXPECT_EQ(*store_.MonthTokens(1, MonthOf(kNow)), 0);
}

TEST_F(StoreTest, UsageIsCutByTimeAndTenant) {
  ASSERT_TRUE(store_.Add(Acme(), false, kNow));
  Tenant other = Acme();
  other.name = "other";
  ASSERT_TRUE(store_.Add(other, false, kNow));
  const int64_t december = NextMonth(kNow);
  ASSERT_TRUE(store_.Record(std::vector{Used(1, "a", december - 1, 1, 0),
                                        Used(1, "b", december, 2, 0), Used(2, "c", kNow, 4, 0)}));
  EXPECT_EQ(store_.Rows({"", december, 0})->size(), 1U);
  EXPECT_EQ(store_.Rows({"", 0, december})->size(), 2U);
  EXPECT_EQ(store_.Rows({"other", 0, 0})->at(0).record.answer_id, "c");
  EXPECT_EQ(store_.Rows({"other", 0, 0})->at(0).tenant, "other");
  const std::vector<UsageTotal> totals = *store_.Totals({});
  ASSERT_EQ(totals.size(), 3U);
  EXPECT_EQ(totals[0].month, 202611);
  EXPECT_EQ(totals[2].month, 202612);
  EXPECT_EQ(totals[2].prompt_tokens, 2);
}

TEST_F(StoreTest, AFileOfALaterVersionIsRefused) {
  ASSERT_TRUE(Database::Open(path_, Database::Mode::kExisting)->Execute("PRAGMA user_version = 2"));
  for (const auto& store : {Store::Open(path_), Store::Create(path_)}) {
    ASSERT_FALSE(store);
    EXPECT_EQ(store.error().code, ErrorCode::kUnsupported);
  }
}

TEST(Micros, AreReadAndWritten) {
  for (const auto& [text, micros] : std::vector<std::pair<std::string, int64_t>>{
           {"0", 0}, {"2.5", 2'500'000}, {"0.075", 75'000}, {"12", 12'000'000}, {"0.000001", 1}}) {
    EXPECT_EQ(*ParseMicros(text), micros) << text;
  }
  for (const char* text : {"", ".", "1.", ".5", "-1", "1.0000001", "1e3", "1,5", "12345678901"}) {
    const auto parsed = ParseMicros(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_NE(parsed.error().message.find("no price"), std::string::npos);
  }
  EXPECT_EQ(FormatMicros(0), "0.00");
  EXPECT_EQ(FormatMicros(2'500'000), "2.50");
  EXPECT_EQ(FormatMicros(75'000), "0.075");
  EXPECT_EQ(FormatMicros(1), "0.000001");
}

}  // namespace
}  // namespace etch::tenant
