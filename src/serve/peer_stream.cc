#include "serve/peer_stream.h"

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>

namespace etch::serve {
namespace {

namespace asio = boost::asio;
constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr std::chrono::seconds kHandshakeTimeout{10};
constexpr std::chrono::seconds kGoodbyeTimeout{1};
constexpr size_t kMaxIgnoredBytes = 256 << 10;

}  // namespace

asio::awaitable<bool> PeerStream::Handshake() {
  if (!tls_) {
    co_return true;
  }
  tcp_.expires_after(kHandshakeTimeout);
  const auto [error] = co_await tls_->async_handshake(asio::ssl::stream_base::server, kAwait);
  tcp_.expires_never();
  co_return !error;
}

asio::awaitable<void> PeerStream::Goodbye() {
  if (tls_) {
    tcp_.expires_after(kGoodbyeTimeout);
    co_await tls_->async_shutdown(kAwait);
  }
  boost::beast::error_code ignored;
  tcp_.socket().shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
}

asio::awaitable<void> PeerStream::Ignore() {
  if (!tls_) {
    boost::beast::error_code ignored;
    tcp_.socket().shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
  }
  tcp_.expires_after(kGoodbyeTimeout);
  std::array<char, 4096> bytes;
  const auto into = asio::buffer(bytes);
  for (size_t taken = 0; taken < kMaxIgnoredBytes;) {
    const auto [error, size] = co_await async_read_some(into, kAwait);
    if (error) {
      break;
    }
    taken += size;
  }
}

}  // namespace etch::serve
