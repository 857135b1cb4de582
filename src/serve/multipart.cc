// A body is: --boundary CRLF headers CRLF CRLF content CRLF --boundary … CRLF --boundary--. Only
// Content-Disposition of a part's headers is read. The boundary is searched in the whole content,
// which is right: a client chooses one that its content does not hold.

#include "serve/multipart.h"

#include <algorithm>
#include <cctype>
#include <optional>

namespace etch::serve {
namespace {

constexpr size_t kMaxHeaderBytes = 4096;
constexpr size_t kMaxBoundaryBytes = 70;  // RFC 2046 §5.1.1

bool SameWord(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, [](unsigned char left, unsigned char right) {
    return std::tolower(left) == std::tolower(right);
  });
}

std::string_view Trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) {
    text.remove_prefix(1);
  }
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) {
    text.remove_suffix(1);
  }
  return text;
}

// The end of a parameter: the next semicolon outside of quotes.
size_t ParameterEnd(std::string_view text) {
  bool in_quotes = false;
  for (size_t at = 0; at < text.size(); ++at) {
    if (in_quotes && text[at] == '\\') {
      ++at;
    } else if (text[at] == '"') {
      in_quotes = !in_quotes;
    } else if (text[at] == ';' && !in_quotes) {
      return at;
    }
  }
  return text.size();
}

std::string Unquote(std::string_view value) {
  if (value.size() < 2 || value.front() != '"' || value.back() != '"') {
    return std::string(value);
  }
  std::string out;
  for (size_t at = 1; at + 1 < value.size(); ++at) {
    if (value[at] == '\\' && at + 2 < value.size()) {
      ++at;
    }
    out += value[at];
  }
  return out;
}

// `name` among the parameters of "type; a=b; c=\"d\"".
std::optional<std::string> Parameter(std::string_view header, std::string_view name) {
  while (!header.empty()) {
    const size_t end = ParameterEnd(header);
    const std::string_view parameter = Trim(header.substr(0, end));
    header.remove_prefix(std::min(header.size(), end + 1));
    const size_t equals = parameter.find('=');
    if (equals != std::string_view::npos && SameWord(parameter.substr(0, equals), name)) {
      return Unquote(parameter.substr(equals + 1));
    }
  }
  return std::nullopt;
}

// The part between two boundaries, without the line ends around it.
Result<FormPart> ParsePart(std::string_view text) {
  const size_t blank = text.substr(0, kMaxHeaderBytes).find("\r\n\r\n");
  if (blank == std::string_view::npos) {
    return Fail(ErrorCode::kMalformed, "a part of the form has no end of its headers");
  }
  std::string_view headers = text.substr(0, blank);
  FormPart part;
  part.content = text.substr(blank + 4);
  while (!headers.empty()) {
    const size_t end = std::min(headers.find("\r\n"), headers.size());
    const std::string_view line = headers.substr(0, end);
    headers.remove_prefix(std::min(headers.size(), end + 2));
    const size_t colon = line.find(':');
    if (colon != std::string_view::npos &&
        SameWord(Trim(line.substr(0, colon)), "content-disposition")) {
      part.name = Parameter(line.substr(colon + 1), "name").value_or("");
      part.file_name = Parameter(line.substr(colon + 1), "filename").value_or("");
    }
  }
  if (part.name.empty()) {
    return Fail(ErrorCode::kMalformed, "a part of the form has no name");
  }
  return part;
}

}  // namespace

Result<std::vector<FormPart>> ParseForm(std::string_view content_type, std::string_view body) {
  const std::string_view type = Trim(content_type.substr(0, content_type.find(';')));
  if (!SameWord(type, "multipart/form-data")) {
    return Fail(ErrorCode::kInvalidArgument, "the body is not multipart/form-data");
  }
  const std::string boundary = Parameter(content_type, "boundary").value_or("");
  if (boundary.empty() || boundary.size() > kMaxBoundaryBytes) {
    return Fail(ErrorCode::kMalformed, "the form's boundary is missing or too long");
  }
  const std::string mark = "--" + boundary;
  const std::string separator = "\r\n" + mark;
  if (!body.starts_with(mark)) {
    return Fail(ErrorCode::kMalformed, "the form does not begin with its boundary");
  }
  std::vector<FormPart> parts;
  std::string_view rest = body.substr(mark.size());
  while (!rest.starts_with("--")) {
    if (!rest.starts_with("\r\n")) {
      return Fail(ErrorCode::kMalformed, "a boundary of the form has no end of line");
    }
    rest.remove_prefix(2);
    const size_t end = rest.find(separator);
    if (end == std::string_view::npos) {
      return Fail(ErrorCode::kMalformed, "the form ends without its boundary");
    }
    ETCH_ASSIGN_OR_RETURN(FormPart part, ParsePart(rest.substr(0, end)));
    parts.push_back(std::move(part));
    if (parts.size() > kMaxFormParts) {
      return Fail(ErrorCode::kInvalidArgument, "the form has more than {} parts", kMaxFormParts);
    }
    rest.remove_prefix(end + separator.size());
  }
  return parts;
}

}  // namespace etch::serve
