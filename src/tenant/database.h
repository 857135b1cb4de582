#pragma once

// SQLite as values: a connection and its statements, errors as Result. Not thread-safe: whoever
// shares a connection locks it.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/error.h"

struct sqlite3;
struct sqlite3_stmt;

namespace etch::tenant {

// A prepared statement; bound and stepped over and over. The Database must outlive it.
class Statement {
 public:
  // Parameters count from 1. Errors of binding surface in Step().
  Statement& Bind(int index, int64_t value);
  Statement& Bind(int index, std::string_view text);
  Statement& BindBlob(int index, std::string_view bytes);

  // Runs to the next row; false at the end, after which the statement is ready to be bound again.
  Result<bool> Step();
  // Runs to the end; for statements without rows.
  Status Run();

  // Columns of the present row count from 0.
  int64_t Integer(int column) const;
  std::string Text(int column) const;

 private:
  friend class Database;
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const;
  };
  explicit Statement(sqlite3_stmt* statement) : statement_(statement) {}

  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
};

class Database {
 public:
  enum class Mode { kCreate, kExisting };

  // Opens `path` in write-ahead mode with full synchronisation. kCreate makes a file that only its
  // owner reads. kNotFound when there is none; kMalformed when it is no database.
  static Result<Database> Open(const std::filesystem::path& path, Mode mode);

  Result<Statement> Prepare(std::string_view sql);
  Status Execute(const char* sql);
  // The one integer that `sql` selects.
  Result<int64_t> Integer(std::string_view sql);

  // BEGIN IMMEDIATE, `body`, COMMIT; nothing stays when either fails.
  Status InTransaction(const std::function<Status()>& body);

 private:
  struct Close {
    void operator()(sqlite3* handle) const;
  };
  explicit Database(sqlite3* handle) : handle_(handle) {}

  std::unique_ptr<sqlite3, Close> handle_;
};

}  // namespace etch::tenant
