// Every connection of Etch to a store is opened here, with the same settings:
//
//   journal_mode = WAL     readers (authentication, `etch tenant list`) never wait for the writer
//   synchronous = FULL     a commit is on the disk when it returns. NORMAL would be safe against
//                          kill -9, which leaves the page cache, but not against a power cut, and
//                          the answer to a request is sent on the strength of this commit
//   busy_timeout = 10 s    two writers (the server's meter, the command line) wait for each other

#include "tenant/database.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <unistd.h>

namespace etch::tenant {
namespace {

constexpr int kBusyTimeoutMs = 10'000;

ErrorCode CodeOf(int result) {
  switch (result & 0xFF) {
    case SQLITE_FULL:
      return ErrorCode::kNoSpace;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return ErrorCode::kUnavailable;
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
      return ErrorCode::kMalformed;
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
    case SQLITE_RANGE:
    case SQLITE_TOOBIG:
      return ErrorCode::kInvalidArgument;
    default:
      return ErrorCode::kIo;
  }
}

tl::unexpected<Error> Failure(sqlite3* handle, int result) {
  const char* name = sqlite3_db_filename(handle, "main");
  return Fail(CodeOf(result), "{}: {}", name != nullptr ? name : "database",
              sqlite3_errmsg(handle));
}

}  // namespace

void Statement::Finalize::operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }

void Database::Close::operator()(sqlite3* handle) const { sqlite3_close_v2(handle); }

Statement& Statement::Bind(int index, int64_t value) {
  sqlite3_bind_int64(statement_.get(), index, value);
  return *this;
}

Statement& Statement::Bind(int index, std::string_view text) {
  sqlite3_bind_text64(statement_.get(), index, text.data() != nullptr ? text.data() : "",
                      text.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
  return *this;
}

Statement& Statement::BindBlob(int index, std::string_view bytes) {
  sqlite3_bind_blob64(statement_.get(), index, bytes.data(), bytes.size(), SQLITE_TRANSIENT);
  return *this;
}

Result<bool> Statement::Step() {
  const int result = sqlite3_step(statement_.get());
  if (result == SQLITE_ROW) {
    return true;
  }
  if (result == SQLITE_DONE) {
    sqlite3_reset(statement_.get());
    return false;
  }
  tl::unexpected<Error> failure = Failure(sqlite3_db_handle(statement_.get()), result);
  sqlite3_reset(statement_.get());
  return failure;
}

Status Statement::Run() {
  while (true) {
    ETCH_ASSIGN_OR_RETURN(const bool has_row, Step());
    if (!has_row) {
      return {};
    }
  }
}

int64_t Statement::Integer(int column) const {
  return sqlite3_column_int64(statement_.get(), column);
}

std::string Statement::Text(int column) const {
  const auto* bytes = static_cast<const char*>(sqlite3_column_blob(statement_.get(), column));
  const int size = sqlite3_column_bytes(statement_.get(), column);
  return bytes == nullptr ? std::string() : std::string(bytes, static_cast<size_t>(size));
}

Result<Database> Database::Open(const std::filesystem::path& path, Mode mode) {
  if (mode == Mode::kCreate) {
    // SQLite gives its files beside this one the same permissions.
    const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0) {
      return Fail(ErrorCode::kIo, "{}: cannot be opened or made: {}", path.string(),
                  std::generic_category().message(errno));
    }
    ::close(file);
  } else if (std::error_code ignored; !std::filesystem::is_regular_file(path, ignored)) {
    return Fail(ErrorCode::kNotFound, "{}: there is no such file; `etch tenant add` makes it",
                path.string());
  }
  sqlite3* handle = nullptr;
  const int result =
      sqlite3_open_v2(path.c_str(), &handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr);
  Database database(handle);
  if (result != SQLITE_OK) {
    return Fail(CodeOf(result), "{}: {}", path.string(),
                handle != nullptr ? sqlite3_errmsg(handle) : "out of memory");
  }
  sqlite3_busy_timeout(handle, kBusyTimeoutMs);
  ETCH_TRY(database.Execute("PRAGMA journal_mode = WAL"));
  ETCH_TRY(database.Execute("PRAGMA synchronous = FULL"));
  ETCH_TRY(database.Execute("PRAGMA foreign_keys = ON"));
  // KiB. What is written here is read seldom: memory does not grow with the file.
  ETCH_TRY(database.Execute("PRAGMA cache_size = -256"));
  return database;
}

Result<Statement> Database::Prepare(std::string_view sql) {
  sqlite3_stmt* statement = nullptr;
  const int result = sqlite3_prepare_v3(handle_.get(), sql.data(), static_cast<int>(sql.size()),
                                        SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
  if (result != SQLITE_OK) {
    return Failure(handle_.get(), result);
  }
  return Statement(statement);
}

Status Database::Execute(const char* sql) {
  const int result = sqlite3_exec(handle_.get(), sql, nullptr, nullptr, nullptr);
  if (result != SQLITE_OK) {
    return Failure(handle_.get(), result);
  }
  return {};
}

Result<int64_t> Database::Integer(std::string_view sql) {
  ETCH_ASSIGN_OR_RETURN(Statement statement, Prepare(sql));
  ETCH_ASSIGN_OR_RETURN(const bool has_row, statement.Step());
  return has_row ? statement.Integer(0) : 0;
}

Status Database::InTransaction(const std::function<Status()>& body) {
  ETCH_TRY(Execute("BEGIN IMMEDIATE"));
  Status status = body();
  if (status) {
    status = Execute("COMMIT");
  }
  if (!status) {
    // Where SQLite has rolled back by itself there is nothing left to undo.
    static_cast<void>(Execute("ROLLBACK"));
  }
  return status;
}

}  // namespace etch::tenant
