#pragma once

// What is said about a request once it has ended, and the ids by which it is found again.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace etch::serve {

// W3C Trace Context: the trace that a request belongs to.
struct Trace {
  std::string trace_id;   // 32 hexadecimal digits
  std::string parent_id;  // 16; the caller's span
  std::string span_id;    // 16; this request's
  std::string flags;      // 2

  // Of the answer: the same trace, with this request as the parent of what follows.
  std::string Header() const { return "00-" + trace_id + "-" + span_id + "-" + flags; }
};

// One request, when it has ended.
struct RequestLog {
  int64_t time_ms = 0;  // Unix milliseconds
  std::string request_id;
  std::string method;
  std::string path;  // without the query
  int status = 0;    // of a stream: that of its head
  std::string tenant;
  std::string key;  // prefix
  std::string adapter;
  std::string finish;  // "stop", "length" …; "" when nothing was generated
  int64_t prompt_tokens = 0;
  int64_t completion_tokens = 0;
  double first_token_s = 0.0;  // 0: there was none
  double duration_s = 0.0;
  std::optional<Trace> trace;
  std::string error;  // what the client was told
};

enum class LogFormat { kOff, kText, kJson };

// One line, without its end.
std::string FormatLog(const RequestLog& log, LogFormat format);

// Takes a finished line; called from several threads.
using LogSink = std::function<void(const std::string& line)>;

// 32 hexadecimal digits in two halves of the system's random generator, behind `prefix`.
std::string RandomId(std::string_view prefix, int hex_digits);

// The client's id when it is 1 to 128 letters, digits and -_.:/+=; otherwise one of ours.
std::string RequestId(std::string_view given);

// Absent unless `header` is a traceparent of version 00 (or a later one's first four fields).
std::optional<Trace> ParseTraceparent(std::string_view header);

}  // namespace etch::serve
