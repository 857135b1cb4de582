#pragma once

// What the head of a request must hold to before the HTTP library reads it: where two readers of
// one connection (a proxy and this server) could disagree about the end of a request, it is
// refused. No sockets.

#include <cstddef>
#include <optional>
#include <string_view>

#include "base/error.h"

namespace etch::serve {

// The size of the head at the front of `bytes`, with the empty line that ends it; 0 when it has not
// come in whole. A line that does not end in CRLF is kMalformed as soon as it is seen, from byte
// `checked` on: what lies before was looked at already.
Result<size_t> FindHeadEnd(std::string_view bytes, size_t checked = 0);

// kMalformed, saying why, for a whole head that RFC 9112 does not allow or that others could read
// otherwise: folded lines, white space before a colon, anything but one `Host`, more than one
// Content-Length, one beside Transfer-Encoding, codings other than `chunked`.
Status CheckHead(std::string_view head);

}  // namespace etch::serve
