#include "serve/tls.h"

#include <openssl/ssl.h>

#include <boost/beast/core/error.hpp>

namespace etch::serve {

namespace ssl = boost::asio::ssl;

Result<std::shared_ptr<ssl::context>> MakeTlsContext(const std::filesystem::path& certificate,
                                                     const std::filesystem::path& key) {
  auto context = std::make_shared<ssl::context>(ssl::context::tls_server);
  boost::beast::error_code error;
  context->set_options(ssl::context::no_tlsv1 | ssl::context::no_tlsv1_1 |
                           ssl::context::no_compression | SSL_OP_NO_RENEGOTIATION,
                       error);
  if (!error) {
    context->use_certificate_chain_file(certificate.string(), error);
  }
  if (error) {
    return Fail(ErrorCode::kInvalidArgument, "--tls-cert {}: no certificate in PEM: {}",
                certificate.string(), error.message());
  }
  context->use_private_key_file(key.string(), ssl::context::pem, error);
  if (error) {
    return Fail(ErrorCode::kInvalidArgument,
                "--tls-key {}: no private key in PEM that belongs to the certificate: {}",
                key.string(), error.message());
  }
  return context;
}

}  // namespace etch::serve
