#pragma once

// One HTTP connection: reads requests, routes them, writes answers and event streams. Runs as a
// coroutine on a strand.

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <memory>

#include "serve/service.h"

namespace etch::serve {

// Serves `socket` until the peer closes it, breaks the protocol or stays idle. `tls` null: plain.
boost::asio::awaitable<void> ServeConnection(Service& service, boost::asio::ip::tcp::socket socket,
                                             std::shared_ptr<boost::asio::ssl::context> tls);

}  // namespace etch::serve
