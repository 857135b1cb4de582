// The head is gathered whole, looked at (serve/request_head.h) and only then given to Beast's
// parser, which reads the body, too. Beast's own loop (async_read) is not used: it has one deadline
// for everything, and a peer that sends a byte a minute would hold a connection for as long as it
// likes. Here the deadline of a body moves with what has come.

#include "serve/request_reader.h"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/string.hpp>
#include <boost/beast/http/error.hpp>
#include <limits>
#include <string_view>
#include <utility>

#include "serve/request_head.h"

namespace etch::serve {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using std::chrono::steady_clock;
constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);

constexpr size_t kFirstReadBytes = 1 << 10;  // all that an idle connection holds
constexpr size_t kBodyReadBytes = 64 << 10;
constexpr int64_t kMinBodyRate = 16 << 10;  // bytes a second
// Of what the parser does not take yet: the line before a chunk, and what may stand behind the
// last.
constexpr size_t kMaxUnparsedBytes = kBodyReadBytes + kMaxHeadBytes;

std::string_view TextOf(const beast::flat_buffer& buffer) {
  return {static_cast<const char*>(buffer.data().data()), buffer.size()};
}

}  // namespace

bool RequestReader::Refuse(int status, std::string message, std::string code) {
  fault_ = {status, std::move(message), std::move(code)};
  return false;
}

void RequestReader::Trim() {
  if (buffer_.capacity() > kFirstReadBytes) {
    buffer_.shrink_to_fit();
  }
}

asio::awaitable<bool> RequestReader::Read(HttpRequest& request) {
  fault_ = {};
  Parser parser;
  parser.eager(true);
  parser.header_limit(kMaxHeadBytes);
  parser.body_limit(std::numeric_limits<uint64_t>::max());  // until the head is read
  if (!co_await ReadHead(parser)) {
    co_return false;
  }
  const HttpHead head = parser.chunked() ? parser.get().base() : HttpHead();
  if (!parser.is_done() && !co_await ReadBody(parser)) {
    co_return false;
  }
  const bool is_chunked = parser.chunked();
  request = parser.release();
  if (is_chunked) {
    request.base() = head;
  }
  co_return true;
}

asio::awaitable<bool> RequestReader::ReadHead(Parser& parser) {
  bool is_begun = buffer_.size() > 0;
  TimePoint deadline = steady_clock::now() + (is_begun ? limits_.head : limits_.idle);
  size_t checked = 0;
  size_t head_bytes = 0;
  while (true) {
    if (checked == 0 && TextOf(buffer_).starts_with("\r\n")) {
      buffer_.consume(2);  // RFC 9112 2.2: one empty line before a request is passed over
    }
    const Result<size_t> end = FindHeadEnd(TextOf(buffer_).substr(0, kMaxHeadBytes), checked);
    if (!end) {
      co_return Refuse(400, end.error().message, "malformed");
    }
    checked = buffer_.size();
    head_bytes = *end;
    if (head_bytes > 0) {
      break;
    }
    if (buffer_.size() >= kMaxHeadBytes) {
      const bool is_target = TextOf(buffer_).find('\n') == std::string_view::npos;
      co_return Refuse(is_target ? 414 : 431,
                       is_target ? "the target is longer than the server takes"
                                 : "the header fields are larger than the server takes",
                       "too_large");
    }
    if (!co_await ReadSome(checked == 0 ? kFirstReadBytes : kMaxHeadBytes, deadline)) {
      if (buffer_.size() == 0) {
        fault_ = {};  // between two requests a peer may leave, or be sent away
      }
      co_return false;
    }
    if (!std::exchange(is_begun, true)) {
      deadline = steady_clock::now() + limits_.head;
    }
  }
  if (const Status status = CheckHead(TextOf(buffer_).substr(0, head_bytes)); !status) {
    co_return Refuse(400, status.error().message, "malformed");
  }
  beast::error_code error;
  const asio::const_buffer head(buffer_.data().data(), head_bytes);
  parser.eager(false);
  buffer_.consume(parser.put(head, error));
  if (error) {
    co_return Refuse(400, "not a request that HTTP/1.1 allows: " + error.message(), "malformed");
  }
  parser.eager(true);
  co_return true;
}

asio::awaitable<bool> RequestReader::ReadBody(Parser& parser) {
  const uint64_t length = parser.content_length().value_or(std::numeric_limits<uint64_t>::max());
  ReadFault fault;
  const uint64_t limit = limits_.body_bytes(parser.get().base(), length, fault);
  if (limit == 0) {
    fault_ = std::move(fault);
    co_return false;
  }
  const std::string too_large = "the body is larger than the server takes";
  if (parser.content_length().value_or(0) > limit) {
    co_return Refuse(413, too_large, "too_large");
  }
  parser.body_limit(limit);
  if (buffer_.size() == 0 && beast::iequals(parser.get()[http::field::expect], "100-continue") &&
      !co_await WriteContinue()) {
    co_return false;
  }
  const TimePoint begin = steady_clock::now();
  int64_t received = 0;
  while (true) {
    beast::error_code error;
    buffer_.consume(parser.put(buffer_.data(), error));
    if (error == http::error::body_limit) {
      co_return Refuse(413, too_large, "too_large");
    }
    if (error && error != http::error::need_more) {
      co_return Refuse(400, "not a request that HTTP/1.1 allows: " + error.message(), "malformed");
    }
    if (parser.is_done()) {
      co_return true;
    }
    if (buffer_.size() >= kMaxUnparsedBytes) {
      co_return Refuse(400, "not a request that HTTP/1.1 allows: a chunk's line without end",
                       "malformed");
    }
    const auto earned = std::chrono::milliseconds(received * 1000 / kMinBodyRate);
    const auto before = static_cast<int64_t>(buffer_.size());
    if (!co_await ReadSome(kBodyReadBytes, begin + limits_.body + earned)) {
      co_return false;
    }
    received += static_cast<int64_t>(buffer_.size()) - before;
  }
}

asio::awaitable<bool> RequestReader::WriteContinue() {
  static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
  const asio::const_buffer bytes = asio::buffer(kContinue);
  stream_.tcp().expires_after(limits_.head);
  const auto [error, size] = co_await asio::async_write(stream_, bytes, kAwait);
  stream_.tcp().expires_never();
  co_return !error;
}

asio::awaitable<bool> RequestReader::ReadSome(size_t size, TimePoint deadline) {
  stream_.tcp().expires_at(deadline);
  const auto into = buffer_.prepare(size);
  const auto [error, read] = co_await stream_.async_read_some(into, kAwait);
  stream_.tcp().expires_never();
  if (error) {
    // The stream is closed by its timeout: what is said here is for the log.
    co_return error == beast::error::timeout
        ? Refuse(408, "the request did not come in time", "timeout")
        : Refuse(0, "", "");
  }
  buffer_.commit(read);
  co_return true;
}

}  // namespace etch::serve
