#pragma once

// multipart/form-data as browsers and curl send it (RFC 7578). Untrusted input.

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace etch::serve {

struct FormPart {
  std::string name;
  std::string file_name;     // as the client has it, not to be used as a path; "" for a field
  std::string_view content;  // of the body
};

inline constexpr size_t kMaxFormParts = 16;

// The parts of `body`, which must outlive them. kMalformed when it is not what `content_type` says;
// kInvalidArgument when that is another type.
Result<std::vector<FormPart>> ParseForm(std::string_view content_type, std::string_view body);

}  // namespace etch::serve
