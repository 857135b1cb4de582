#include "serve/access.h"

#include <gtest/gtest.h>

#include "support/data.h"
#include "tenant/store.h"

namespace etch::serve {
namespace {

TEST(Access, WithoutKeysEverybodyIsLetIn) {
  const Access access({}, nullptr);
  EXPECT_FALSE(access.keys_exist());
  const Caller caller = *access.Authenticate("");
  EXPECT_TRUE(caller.admin);
  EXPECT_TRUE(caller.MayUseBase());
  EXPECT_TRUE(caller.MayUseAdapter("any"));
}

TEST(Access, AKeyOfTheOperatorOpensAllButWhatIsForAdmins) {
  const Access access({"one", "two"}, nullptr);
  for (const char* header : {"", "one", "Bearer", "Bearer ", "Bearer on", "Bearer onee",
                             "Bearer oneone", "bearer one", "Bearer one "}) {
    const auto caller = access.Authenticate(header);
    ASSERT_FALSE(caller) << header;
    EXPECT_EQ(caller.error().code, ErrorCode::kNotFound);
  }
  const Caller caller = *access.Authenticate("Bearer two");
  EXPECT_FALSE(caller.admin);
  EXPECT_TRUE(caller.MayUseAdapter("any"));
  EXPECT_EQ(caller.tenant(), nullptr);
}

TEST(Access, AnAdminKeyIsAKey) {
  const Access access({"one"}, nullptr, {"boss"});
  EXPECT_TRUE(access.Authenticate("Bearer boss")->admin);
  EXPECT_FALSE(access.Authenticate("Bearer one")->admin);
  EXPECT_FALSE(access.Authenticate("Bearer bos"));
  EXPECT_TRUE(Access({}, nullptr, {"boss"}).keys_exist());
}

TEST(Access, ATenantMayUseWhatIsItsOwn) {
  const auto path = test::TemporaryFolder() / "tenants.db";
  tenant::Store store = *tenant::Store::Create(path);
  const auto directory = *tenant::Directory::Open(path);
  const Access access({"operator"}, directory.get());
  EXPECT_FALSE(Access({}, directory.get()).Authenticate("")) << "no key of nobody lets in nobody";
  tenant::Tenant tenant;
  tenant.name = "acme";
  tenant.adapters = {"a"};
  tenant.base = false;
  const std::string key = *store.Add(tenant, true, 1);
  const Caller caller = *access.Authenticate("Bearer " + key);
  EXPECT_EQ(caller.tenant_name(), "acme");
  EXPECT_TRUE(caller.admin);
  EXPECT_FALSE(caller.MayUseBase());
  EXPECT_TRUE(caller.MayUseAdapter("a"));
  EXPECT_FALSE(caller.MayUseAdapter("b"));
  EXPECT_TRUE(access.Authenticate("Bearer operator"));
  EXPECT_FALSE(access.Authenticate("Bearer " + key.substr(1)));
}

}  // namespace
}  // namespace etch::serve
