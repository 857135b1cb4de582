#pragma once

// A whole answer to one HTTP request, and what routes that are not completions see of the request.

#include <string>
#include <string_view>

namespace etch::serve {

inline constexpr const char* kJsonType = "application/json";
inline constexpr const char* kTextType = "text/plain; charset=utf-8";

struct Reply {
  int status = 200;
  std::string body;
  const char* content_type = kJsonType;
};

enum class Method { kGet, kPost, kDelete, kOther };

struct RouteRequest {
  Method method = Method::kOther;
  std::string_view path;
  std::string_view content_type;
  std::string_view body;
};

}  // namespace etch::serve
