#pragma once

// Reads the requests of one connection, within limits of size and time.

#include <boost/asio/awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/fields.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

#include "serve/peer_stream.h"

namespace etch::serve {

using HttpRequest = boost::beast::http::request<boost::beast::http::string_body>;
using HttpHead = boost::beast::http::request_header<>;

inline constexpr size_t kMaxHeadBytes = 16 << 10;

// Why there is no request.
struct ReadFault {
  int status = 0;  // 0: nothing is said, the peer left or was idle
  std::string message;
  std::string code;
};

struct ReadLimits {
  std::chrono::milliseconds idle;  // until the first byte of a request
  std::chrono::milliseconds head;  // from there to the end of the head
  // From there to the first byte of the body, and as much again as it takes at kMinBodyRate.
  std::chrono::milliseconds body;
  // How large a body may be, by the request's head; 0: none is read, and `fault` says why.
  std::function<uint64_t(const HttpHead& head, uint64_t length, ReadFault& fault)> body_bytes;
};

class RequestReader {
 public:
  RequestReader(PeerStream& stream, ReadLimits limits)
      : stream_(stream), limits_(std::move(limits)) {}

  // Reads the next request into `request`; false when there is none, and fault() says why. Fields
  // behind a chunked body (trailers) are dropped: they are never taken for fields of the head.
  boost::asio::awaitable<bool> Read(HttpRequest& request);
  const ReadFault& fault() const { return fault_; }
  // What has been read ahead of the request under way.
  boost::beast::flat_buffer& buffer() { return buffer_; }
  // Gives memory back that an idle connection does not need.
  void Trim();

 private:
  using Parser = boost::beast::http::request_parser<boost::beast::http::string_body>;
  using TimePoint = std::chrono::steady_clock::time_point;

  // False with fault_ when the head does not come, or not as it should.
  boost::asio::awaitable<bool> ReadHead(Parser& parser);
  boost::asio::awaitable<bool> ReadBody(Parser& parser);
  boost::asio::awaitable<bool> WriteContinue();
  // Reads what there is, at most `size` bytes, by `deadline`.
  boost::asio::awaitable<bool> ReadSome(size_t size, TimePoint deadline);
  bool Refuse(int status, std::string message, std::string code);

  PeerStream& stream_;
  const ReadLimits limits_;
  boost::beast::flat_buffer buffer_;
  ReadFault fault_;
};

}  // namespace etch::serve
