#include "serve/error_body.h"

#include <nlohmann/json.hpp>

#include "serve/json_fields.h"

namespace etch::serve {

int HttpStatus(ErrorCode code) {
  switch (code) {
    case ErrorCode::kNotFound:
      return 404;
    case ErrorCode::kUnavailable:
      return 503;
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kMalformed:
    case ErrorCode::kUnsupported:
    case ErrorCode::kMismatch:
    case ErrorCode::kContextExceeded:
    case ErrorCode::kNoSpace:  // more than the whole budget: asking again does not help
      return 400;
    default:
      return 500;
  }
}

std::string Shortened(const std::string& message) {
  constexpr size_t kMaxBytes = 500;
  if (message.size() <= kMaxBytes) {
    return message;
  }
  size_t end = kMaxBytes;
  while (end > 0 && (static_cast<unsigned char>(message[end]) & 0xC0) == 0x80) {
    --end;  // not within a character
  }
  return message.substr(0, end) + " \u2026";
}

std::string ErrorBody(int status, const std::string& message, const std::string& code,
                      const std::string& param) {
  const char* type = status == 401   ? "authentication_error"
                     : status == 403 ? "permission_error"
                     : status == 404 ? "not_found_error"
                     : status == 429 ? "rate_limit_error"
                     : status == 503 ? "unavailable_error"
                     : status >= 500 ? "server_error"
                                     : "invalid_request_error";
  const nlohmann::ordered_json field =
      param.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(param);
  const nlohmann::ordered_json body = {
      {"error",
       {{"message", Shortened(message)}, {"type", type}, {"param", field}, {"code", code}}}};
  return DumpJson(body);
}

Reply ErrorReply(int status, const std::string& message, const std::string& code) {
  return {status, ErrorBody(status, message, code)};
}

Reply ErrorReply(const Error& error) {
  return ErrorReply(HttpStatus(error.code), error.message, std::string(ErrorCodeName(error.code)));
}

}  // namespace etch::serve
