// A read that stays pending is the one thing that tells a closed connection, plain or through TLS.
// Waiting for readiness instead (epoll's RDHUP) would not see TLS's goodbye, and would report bytes
// of a next request again and again. More than kMaxAheadBytes of such are not taken: then only a
// write shows that the peer has gone.
//
// A peer that closes its sending half counts as gone: TCP does not tell it from one that closed
// both, and what waits for answers keeps it open.

#include "serve/peer_watch.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>

namespace etch::serve {
namespace {

namespace asio = boost::asio;
constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr size_t kReadBytes = 1 << 10;
constexpr size_t kMaxAheadBytes = 64 << 10;

}  // namespace

void PeerWatch::Start(std::function<void()> on_gone) {
  on_gone_ = std::move(on_gone);
  running_ = true;
  asio::co_spawn(stream_.get_executor(), Run(), asio::detached);
}

asio::awaitable<void> PeerWatch::Stop() {
  on_gone_ = nullptr;
  if (running_) {
    stream_.tcp().cancel();
  }
  while (running_) {
    co_await ended_.async_wait(kAwait);
  }
}

asio::awaitable<void> PeerWatch::Run() {
  while (on_gone_ && buffer_.size() < kMaxAheadBytes) {
    stream_.tcp().expires_never();  // a write may have set a time that is not this read's
    const auto into = buffer_.prepare(kReadBytes);
    const auto [error, size] = co_await stream_.async_read_some(into, kAwait);
    if (!error) {
      buffer_.commit(size);
      continue;
    }
    if (on_gone_ && error != asio::error::operation_aborted) {
      std::exchange(on_gone_, nullptr)();
    }
    break;
  }
  running_ = false;
  ended_.cancel();
}

}  // namespace etch::serve
