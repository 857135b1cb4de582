// Bodies of requests: any bytes end in a request or in one error.

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "serve/request.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  (void)etch::serve::ParseChatRequest(body);
  (void)etch::serve::ParseCompletionRequest(body);
  return 0;
}
