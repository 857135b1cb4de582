#pragma once

// The stream of bytes to one peer, plain or through TLS, as Asio and Beast want it: so that what
// reads and writes HTTP stands once. Timeouts are those of the TCP stream below.

#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/beast/core/error.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <memory>
#include <optional>
#include <utility>

namespace etch::serve {

class PeerStream {
 public:
  using executor_type = boost::beast::tcp_stream::executor_type;

  // `tls` null: plain. It is kept as long as the stream.
  PeerStream(boost::asio::ip::tcp::socket socket, std::shared_ptr<boost::asio::ssl::context> tls)
      : tcp_(std::move(socket)), context_(std::move(tls)) {
    if (context_) {
      tls_.emplace(tcp_, *context_);
    }
  }

  executor_type get_executor() { return tcp_.get_executor(); }
  boost::beast::tcp_stream& tcp() { return tcp_; }
  boost::asio::ssl::stream<boost::beast::tcp_stream&>* tls() { return tls_ ? &*tls_ : nullptr; }

  // Of TLS; nothing to do without it. False when the peer does not come to terms in time.
  boost::asio::awaitable<bool> Handshake();
  // Says that nothing more will be written.
  boost::asio::awaitable<void> Goodbye();
  // Takes what still comes behind a refused request, for a short while: closing at once would reset
  // the connection, and the refusal would be lost.
  boost::asio::awaitable<void> Ignore();

  template <class Buffers, class Token>
  auto async_read_some(const Buffers& buffers, Token&& token) {
    return boost::asio::async_initiate<Token, Signature>(
        [this](auto handler, const Buffers& into) {
          if (tls_) {
            tls_->async_read_some(into, std::move(handler));
          } else {
            tcp_.async_read_some(into, std::move(handler));
          }
        },
        token, buffers);
  }

  template <class Buffers, class Token>
  auto async_write_some(const Buffers& buffers, Token&& token) {
    return boost::asio::async_initiate<Token, Signature>(
        [this](auto handler, const Buffers& from) {
          if (tls_) {
            tls_->async_write_some(from, std::move(handler));
          } else {
            tcp_.async_write_some(from, std::move(handler));
          }
        },
        token, buffers);
  }

 private:
  using Signature = void(boost::beast::error_code, std::size_t);

  boost::beast::tcp_stream tcp_;
  std::shared_ptr<boost::asio::ssl::context> context_;  // shared: a reload replaces the server's
  std::optional<boost::asio::ssl::stream<boost::beast::tcp_stream&>> tls_;
};

}  // namespace etch::serve
