#pragma once

// Notices that a peer has gone while its answer is being made, when nothing is read or written
// that would show it.

#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <functional>

#include "serve/peer_stream.h"

namespace etch::serve {

// Used on the connection's strand; between Start and Stop nobody else reads from the stream.
class PeerWatch {
 public:
  // Both must outlive it. What the peer sends meanwhile (its next request) goes into `buffer`.
  PeerWatch(PeerStream& stream, boost::beast::flat_buffer& buffer)
      : stream_(stream), buffer_(buffer), ended_(stream.get_executor()) {
    ended_.expires_at(boost::asio::steady_timer::time_point::max());
  }

  // Calls `on_gone`, once, when the peer closes the connection or its sending half of it.
  void Start(std::function<void()> on_gone);
  // Returns when nothing reads any more; has to come before the end, and while nothing is written.
  boost::asio::awaitable<void> Stop();

 private:
  boost::asio::awaitable<void> Run();

  PeerStream& stream_;
  boost::beast::flat_buffer& buffer_;
  boost::asio::steady_timer ended_;
  std::function<void()> on_gone_;
  bool running_ = false;
};

}  // namespace etch::serve
