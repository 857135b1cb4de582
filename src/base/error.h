#pragma once

// How every library of Etch reports failure: a value of type Result<T>, never an exception across a
// module's edge, never a print or an exit. ETCH_CHECK is for bugs only and must not be reachable
// from user input.

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace etch {

enum class ErrorCode {
  kInvalidArgument,  // the caller asked for something that makes no sense: a bad flag, a value out
                     // of range
  kNotFound,         // a file, tensor, model or adapter that does not exist
  kMalformed,        // bytes that break their format: truncated, lying, corrupt
  kUnsupported,      // well-formed, but outside of what Etch does: an unknown architecture, DoRA, a
                     // pickle
  kMismatch,         // well-formed, but does not belong together: an adapter of another base
  kIo,               // the operating system refused a read or a write
  kNoSpace,          // disk or memory budget exhausted
  kContextExceeded,  // more tokens than the session's context holds
  kCancelled,        // the user interrupted
  kUnavailable,      // the service is busy or shutting down
};

// `message` says what, where and what to do next; no trailing period, no "error:" prefix.
struct Error {
  ErrorCode code;
  std::string message;
};

template <class T>
using Result = tl::expected<T, Error>;
using Status = Result<void>;

// Fail(ErrorCode::kNotFound, "no tensor \"{}\"", name) converts to any Result.
template <class... Args>
[[nodiscard]] tl::unexpected<Error> Fail(ErrorCode code, fmt::format_string<Args...> format,
                                         Args&&... args) {
  return tl::unexpected<Error>(Error{code, fmt::format(format, std::forward<Args>(args)...)});
}

// The same error with `where` in front: "where: message".
[[nodiscard]] tl::unexpected<Error> Prefix(std::string_view where, Error error);

// The name of a code as it appears in JSON: "malformed", "not_found" …
std::string_view ErrorCodeName(ErrorCode code);

// Prints the failed condition and aborts.
[[noreturn]] void CheckFailed(const char* condition, const char* file, int line,
                              const std::string& message);

}  // namespace etch

#define ETCH_CHECK(condition, ...)                                                        \
  do {                                                                                    \
    if (!(condition)) [[unlikely]] {                                                      \
      ::etch::CheckFailed(#condition, __FILE__, __LINE__, ::fmt::format("" __VA_ARGS__)); \
    }                                                                                     \
  } while (false)

#ifdef NDEBUG
#define ETCH_DCHECK(condition, ...) \
  do {                              \
  } while (false)
#else
#define ETCH_DCHECK(condition, ...) ETCH_CHECK(condition, __VA_ARGS__)
#endif

// Returns the error of a Result expression, if it has one.
#define ETCH_TRY(expression)                                   \
  do {                                                         \
    if (auto etch_result = (expression); !etch_result) {       \
      return ::tl::unexpected(std::move(etch_result).error()); \
    }                                                          \
  } while (false)

#define ETCH_CONCAT_INNER(a, b) a##b
#define ETCH_CONCAT(a, b) ETCH_CONCAT_INNER(a, b)

// ETCH_ASSIGN_OR_RETURN(auto x, F()): declares x from the value of F(), or returns its error.
#define ETCH_ASSIGN_OR_RETURN(declaration, expression)                               \
  auto ETCH_CONCAT(etch_result_, __LINE__) = (expression);                           \
  if (!ETCH_CONCAT(etch_result_, __LINE__)) {                                        \
    return ::tl::unexpected(std::move(ETCH_CONCAT(etch_result_, __LINE__)).error()); \
  }                                                                                  \
  declaration = std::move(*ETCH_CONCAT(etch_result_, __LINE__))
