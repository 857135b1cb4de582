#include "tenant/directory.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "support/data.h"
#include "tenant/api_key.h"
#include "tenant/store.h"

namespace etch::tenant {
namespace {

constexpr int64_t kNow = 1795651200;

class DirectoryTest : public ::testing::Test {
 protected:
  DirectoryTest() {
    Tenant tenant;
    tenant.name = "acme";
    tenant.adapters = {"one"};
    key_ = *store_.Add(tenant, true, kNow);
  }

  bool Knows(const std::string& key, int64_t now = kNow) {
    return directory_->Authenticate(key, now)->tenant != nullptr;
  }

  const std::filesystem::path path_ = test::TemporaryFolder() / "tenants.db";
  Store store_ = *Store::Create(path_);
  std::unique_ptr<Directory> directory_ = *Directory::Open(path_);
  std::string key_;
};

TEST_F(DirectoryTest, AKeyGivesItsTenant) {
  const Grant grant = *directory_->Authenticate(key_, kNow);
  ASSERT_NE(grant.tenant, nullptr);
  EXPECT_EQ(grant.tenant->name, "acme");
  EXPECT_EQ(grant.key_prefix, KeyPrefix(key_));
  EXPECT_TRUE(grant.admin);
  EXPECT_TRUE(grant.tenant->MayUseAdapter("one"));
  EXPECT_FALSE(grant.tenant->MayUseAdapter("on"));
  EXPECT_FALSE(grant.tenant->MayUseAdapter(""));
}

TEST_F(DirectoryTest, NoOtherStringDoes) {
  EXPECT_FALSE(Knows(""));
  EXPECT_FALSE(Knows(key_.substr(0, key_.size() - 1)));
  EXPECT_FALSE(Knows(key_ + "0"));
  EXPECT_FALSE(Knows(*NewApiKey()));
  for (size_t at = 5; at < key_.size(); ++at) {
    std::string wrong = key_;
    wrong[at] = wrong[at] == '0' ? '1' : '0';
    EXPECT_FALSE(Knows(wrong)) << at;
  }
}

TEST_F(DirectoryTest, ChangesAreSeenAtOnce) {
  ASSERT_TRUE(Knows(key_));
  Tenant changed = *store_.Find("acme");
  changed.limits.context = 77;
  ASSERT_TRUE(store_.Update(changed));
  EXPECT_EQ(directory_->Authenticate(key_, kNow)->tenant->limits.context, 77);
  const std::string next = *store_.NewKey("acme", false, kNow + 10, kNow);
  EXPECT_TRUE(Knows(next));
  EXPECT_TRUE(Knows(key_, kNow + 9));
  EXPECT_FALSE(Knows(key_, kNow + 10)) << "the time of a rotated key ends without a change";
  ASSERT_TRUE(store_.Revoke("acme", kNow));
  EXPECT_FALSE(Knows(next));
  EXPECT_FALSE(Knows(key_));
}

TEST_F(DirectoryTest, AGrantOutlivesAChange) {
  const Grant grant = *directory_->Authenticate(key_, kNow);
  ASSERT_TRUE(store_.Revoke("acme", kNow));
  EXPECT_FALSE(Knows(key_));
  EXPECT_EQ(grant.tenant->name, "acme");
}

TEST_F(DirectoryTest, ThreadsAskWhileItChanges) {
  std::atomic<bool> stop = false;
  std::vector<std::thread> threads;
  std::atomic<int64_t> asked = 0;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&] {
      while (!stop) {
        EXPECT_TRUE(Knows(key_));
        ++asked;
      }
    });
  }
  for (int64_t change = 1; change <= 50; ++change) {
    Tenant changed = *store_.Find("acme");
    changed.limits.context = change;
    ASSERT_TRUE(store_.Update(changed));
    EXPECT_EQ(directory_->Authenticate(key_, kNow)->tenant->limits.context, change);
  }
  stop = true;
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_GT(asked, 0);
}

}  // namespace
}  // namespace etch::tenant
