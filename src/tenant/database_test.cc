#include "tenant/database.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "support/data.h"

namespace etch::tenant {
namespace {

class DatabaseTest : public ::testing::Test {
 protected:
  const std::filesystem::path path_ = test::TemporaryFolder() / "a.db";
};

TEST_F(DatabaseTest, OnlyItsOwnerReadsIt) {
  ASSERT_TRUE(Database::Open(path_, Database::Mode::kCreate)->Execute("CREATE TABLE t (a)"));
  struct stat status = {};
  ASSERT_EQ(::stat(path_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777U, 0600U);
}

TEST_F(DatabaseTest, SaysWhatIsWrongWithAFile) {
  const auto absent = Database::Open(path_, Database::Mode::kExisting);
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().code, ErrorCode::kNotFound);
  EXPECT_NE(absent.error().message.find("etch tenant add"), std::string::npos);
  std::ofstream(path_) << std::string(5000, 'x');
  const auto broken = Database::Open(path_, Database::Mode::kExisting);
  ASSERT_FALSE(broken);
  EXPECT_EQ(broken.error().code, ErrorCode::kMalformed) << broken.error().message;
  const auto folder =
      Database::Open(path_.parent_path() / "none" / "b.db", Database::Mode::kCreate);
  ASSERT_FALSE(folder);
  EXPECT_EQ(folder.error().code, ErrorCode::kIo);
}

TEST_F(DatabaseTest, TextAndNumbersComeBackAsTheyWent) {
  Database database = *Database::Open(path_, Database::Mode::kCreate);
  ASSERT_TRUE(database.Execute("CREATE TABLE t (a, b, c)"));
  const std::string bytes("a\0b'\"", 5);
  Statement insert = *database.Prepare("INSERT INTO t VALUES (?1, ?2, ?3)");
  ASSERT_TRUE(insert.Bind(1, INT64_MIN).Bind(2, bytes).BindBlob(3, bytes).Run());
  ASSERT_TRUE(insert.Bind(1, INT64_MAX).Bind(2, std::string_view()).BindBlob(3, "").Run());
  Statement select = *database.Prepare("SELECT a, b, c FROM t ORDER BY rowid");
  ASSERT_TRUE(*select.Step());
  EXPECT_EQ(select.Integer(0), INT64_MIN);
  EXPECT_EQ(select.Text(1), bytes);
  EXPECT_EQ(select.Text(2), bytes);
  ASSERT_TRUE(*select.Step());
  EXPECT_EQ(select.Integer(0), INT64_MAX);
  EXPECT_EQ(select.Text(1), "");
  EXPECT_FALSE(*select.Step());
}

TEST_F(DatabaseTest, ATransactionIsAllOrNothing) {
  Database database = *Database::Open(path_, Database::Mode::kCreate);
  ASSERT_TRUE(database.Execute("CREATE TABLE t (a UNIQUE)"));
  const Status status = database.InTransaction([&]() -> Status {
    ETCH_TRY(database.Execute("INSERT INTO t VALUES (1)"));
    return database.Execute("INSERT INTO t VALUES (1)");
  });
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kInvalidArgument) << status.error().message;
  EXPECT_EQ(*database.Integer("SELECT count(*) FROM t"), 0);
  ASSERT_TRUE(database.InTransaction([&] { return database.Execute("INSERT INTO t VALUES (1)"); }));
  EXPECT_EQ(*database.Integer("SELECT count(*) FROM t"), 1);
}

TEST_F(DatabaseTest, CommitsAreSynchronised) {
  Database database = *Database::Open(path_, Database::Mode::kCreate);
  EXPECT_EQ(*database.Integer("PRAGMA synchronous"), 2);  // FULL
  Statement mode = *database.Prepare("PRAGMA journal_mode");
  ASSERT_TRUE(*mode.Step());
  EXPECT_EQ(mode.Text(0), "wal");
}

TEST_F(DatabaseTest, BadSqlIsAnError) {
  Database database = *Database::Open(path_, Database::Mode::kCreate);
  EXPECT_FALSE(database.Prepare("SELECT nothing FROM nowhere"));
  EXPECT_FALSE(database.Execute("SELEC"));
}

}  // namespace
}  // namespace etch::tenant
