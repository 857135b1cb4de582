#pragma once

// Errors as HTTP has them, in OpenAI's shape.

#include <string>

#include "base/error.h"
#include "serve/reply.h"

namespace etch::serve {

int HttpStatus(ErrorCode code);
// An error's message, cut where it is longer than anybody reads: some quote what was sent.
std::string Shortened(const std::string& message);
// `param`: the field of the request that was wrong, if it is known.
std::string ErrorBody(int status, const std::string& message, const std::string& code,
                      const std::string& param = "");
Reply ErrorReply(int status, const std::string& message, const std::string& code);
Reply ErrorReply(const Error& error);

}  // namespace etch::serve
