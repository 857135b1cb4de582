// Beast 1.81 reads a head leniently in ways that let a second request hide in the first one when a
// proxy stands in front: an unknown Transfer-Encoding means no body at all, `chunked` may come
// twice or first, folded lines are joined, a request of HTTP/1.0 may be chunked, Host may be
// missing or stand twice. Its parser has no switch for that, so the head is looked at here first.
// RFC 9112 lets a server refuse all of these (2.2, 3.2, 5.1, 5.2, 6.1, 6.3).

#include "serve/request_head.h"

#include <algorithm>

namespace etch::serve {
namespace {

constexpr std::string_view kLineEnd = "\r\n";

char Lower(char character) {
  return character >= 'A' && character <= 'Z' ? static_cast<char>(character - 'A' + 'a')
                                              : character;
}

bool EqualsIgnoringCase(std::string_view left, std::string_view right) {
  return std::ranges::equal(left, right, {}, Lower, Lower);
}

std::string_view Trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t");
  return begin == std::string_view::npos
             ? std::string_view()
             : text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

// RFC 9110 5.6.2.
bool IsTokenCharacter(char character) {
  const char lower = Lower(character);
  return (lower >= 'a' && lower <= 'z') || (lower >= '0' && lower <= '9') ||
         std::string_view("!#$%&'*+-.^_`|~").find(character) != std::string_view::npos;
}

tl::unexpected<Error> Malformed(std::string_view why) {
  return Fail(ErrorCode::kMalformed, "not a request that HTTP/1.1 allows: {}", why);
}

// "GET /path HTTP/1.1"; `is_1_1` tells which of the two versions it is.
Status CheckRequestLine(std::string_view line, bool& is_1_1) {
  const size_t method_end = line.find(' ');
  const size_t target_end = line.rfind(' ');
  if (method_end == std::string_view::npos || method_end == 0 || target_end <= method_end + 1) {
    return Malformed("the first line is not a method, a target and a version");
  }
  const std::string_view target = line.substr(method_end + 1, target_end - method_end - 1);
  const auto is_visible = [](char character) { return character > ' ' && character < '\x7F'; };
  if (!std::ranges::all_of(line.substr(0, method_end), IsTokenCharacter) ||
      !std::ranges::all_of(target, is_visible)) {
    return Malformed("the method or the target holds a character that may not stand there");
  }
  const std::string_view version = line.substr(target_end + 1);
  is_1_1 = version == "HTTP/1.1";
  return is_1_1 || version == "HTTP/1.0" ? Status() : Malformed("the version is not HTTP/1.1");
}

// What the fields say about where the request ends.
struct Framing {
  int hosts = 0;
  int lengths = 0;
  int codings = 0;
};

Status CheckField(std::string_view line, Framing& framing) {
  const size_t colon = line.find(':');
  const std::string_view name = line.substr(0, colon);
  if (colon == std::string_view::npos || name.empty() ||
      !std::ranges::all_of(name, IsTokenCharacter)) {
    return Malformed("a header field has no name of allowed characters before its colon");
  }
  const std::string_view value = Trimmed(line.substr(colon + 1));
  if (EqualsIgnoringCase(name, "host")) {
    ++framing.hosts;
  } else if (EqualsIgnoringCase(name, "content-length")) {
    ++framing.lengths;
    const auto is_digit = [](char character) { return character >= '0' && character <= '9'; };
    if (value.empty() || !std::ranges::all_of(value, is_digit)) {
      return Malformed("Content-Length is not a number");
    }
  } else if (EqualsIgnoringCase(name, "transfer-encoding")) {
    ++framing.codings;
    if (!EqualsIgnoringCase(value, "chunked")) {
      return Malformed("Transfer-Encoding is not chunked");
    }
  }
  return {};
}

}  // namespace

Result<size_t> FindHeadEnd(std::string_view bytes, size_t checked) {
  size_t line_end = bytes.find('\n', checked);
  for (; line_end != std::string_view::npos; line_end = bytes.find('\n', line_end + 1)) {
    if (line_end == 0 || bytes[line_end - 1] != '\r') {
      return Malformed("a line does not end in CR and LF");
    }
    if (line_end >= 3 && bytes.substr(line_end - 3, 4) == "\r\n\r\n") {
      return line_end + 1;
    }
  }
  return 0;
}

Status CheckHead(std::string_view head) {
  bool is_1_1 = false;
  size_t end = head.find(kLineEnd);
  ETCH_TRY(CheckRequestLine(head.substr(0, end), is_1_1));
  Framing framing;
  for (size_t begin = end + 2; begin < head.size(); begin = end + 2) {
    end = std::min(head.find(kLineEnd, begin), head.size());
    const std::string_view line = head.substr(begin, end - begin);
    if (line.empty()) {
      break;
    }
    if (line.find('\r') != std::string_view::npos) {
      return Malformed("a CR stands in a line");
    }
    if (line.front() == ' ' || line.front() == '\t') {
      return Malformed("a header field is folded");
    }
    ETCH_TRY(CheckField(line, framing));
  }
  if (framing.hosts > 1 || (framing.hosts == 0 && is_1_1)) {
    return Malformed("there is not one Host");
  }
  if (framing.lengths + framing.codings > 1 || (framing.codings > 0 && !is_1_1)) {
    return Malformed("Content-Length and Transfer-Encoding do not say once how long the body is");
  }
  return {};
}

}  // namespace etch::serve
