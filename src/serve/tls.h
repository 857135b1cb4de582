#pragma once

// TLS 1.2 and 1.3 for the server's sockets.

#include <boost/asio/ssl/context.hpp>
#include <filesystem>
#include <memory>

#include "base/error.h"

namespace etch::serve {

// PEM files: the certificate with those between it and the root, and its private key.
// kInvalidArgument naming the file that cannot be read, or when the two do not belong together.
Result<std::shared_ptr<boost::asio::ssl::context>> MakeTlsContext(
    const std::filesystem::path& certificate, const std::filesystem::path& key);

}  // namespace etch::serve
