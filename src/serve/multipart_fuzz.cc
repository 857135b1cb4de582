// Forms: any bytes end in parts of the body or in one error. The first line is the content type.

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "serve/multipart.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const size_t line = text.find('\n');
  if (line != std::string_view::npos) {
    (void)etch::serve::ParseForm(text.substr(0, line), text.substr(line + 1));
  }
  return 0;
}
