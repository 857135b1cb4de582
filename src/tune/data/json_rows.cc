// The library's parser knows lines only while it runs, and would hold a whole file as a tree. So a
// scanner that knows no more of JSON than strings and brackets cuts the text into values, and the
// parser, which decides, sees one value at a time. On a broken value the scanner's cut may be wrong
// (a quote too few reaches to the next one), but the value begins at the right line, and the
// parser's complaint lies inside it.

#include "tune/data/json_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "text/utf8.h"

namespace etch::tune::internal {
namespace {

constexpr std::string_view kWhiteSpace = " \t\r\n";
constexpr int kMaxDepth = 64;
constexpr size_t kMaxComplaintBytes = 200;

// Where a value that begins at `at` ends, as far as strings and brackets tell; text.size() when it
// never does. `depth` becomes the deepest nesting.
size_t ValueEnd(std::string_view text, size_t at, int& deepest) {
  int depth = 0;
  for (; at < text.size(); ++at) {
    const char letter = text[at];
    if (letter == '"') {
      for (++at; at < text.size() && text[at] != '"'; ++at) {
        at += text[at] == '\\' ? 1 : 0;
      }
      at = std::min(at, text.size());
    } else if (letter == '{' || letter == '[') {
      deepest = std::max(deepest, ++depth);
      continue;
    } else if (letter == '}' || letter == ']') {
      if (depth == 0) {
        return at;
      }
      --depth;
    } else if (depth > 0) {
      continue;
    } else if (letter == ',' || letter == ':' ||
               kWhiteSpace.find(letter) != std::string_view::npos) {
      return at;
    } else {
      continue;
    }
    if (depth == 0) {
      return std::min(at + 1, text.size());
    }
  }
  return text.size();
}

struct Complaint {
  int64_t line = 1;  // within the value
  std::string text;
};

// "[json.exception.parse_error.101] parse error at line 2, column 5: syntax error …".
Complaint ReadComplaint(std::string_view what) {
  Complaint complaint;
  constexpr std::string_view kLine = "parse error at line ";
  if (const size_t at = what.find(kLine); at != std::string_view::npos) {
    complaint.line = std::max<int64_t>(1, std::atoll(what.data() + at + kLine.size()));
  }
  if (const size_t at = what.find(": "); at != std::string_view::npos) {
    what.remove_prefix(at + 2);
  }
  what = what.substr(0, kMaxComplaintBytes);
  complaint.text = what.substr(0, text::ValidUtf8Prefix(what));
  return complaint;
}

Result<Json> Parse(std::string_view name, int64_t line, std::string_view value) {
  if (value.size() > kMaxRowBytes) {
    return Fail(ErrorCode::kUnsupported, "{}a row of {} bytes, at most {} are read", At(name, line),
                value.size(), kMaxRowBytes);
  }
  int deepest = 0;
  for (size_t at = 0; at < value.size() && deepest <= kMaxDepth;) {
    at = std::max(ValueEnd(value, at, deepest), at + 1);
  }
  if (deepest > kMaxDepth) {
    return Fail(ErrorCode::kUnsupported, "{}a row nests deeper than {}", At(name, line), kMaxDepth);
  }
  try {
    return Json::parse(value);
  } catch (const Json::exception& error) {
    const Complaint complaint = ReadComplaint(error.what());
    return Fail(ErrorCode::kMalformed, "{}not JSON: {}", At(name, line + complaint.line - 1),
                complaint.text);
  }
}

// Walks over text and counts its lines.
class Cursor {
 public:
  Cursor(std::string_view name, std::string_view text) : name_(name), text_(text) { SkipSpace(); }

  bool AtEnd() const { return at_ >= text_.size(); }
  char letter() const { return AtEnd() ? '\0' : text_[at_]; }
  int64_t line() const { return line_; }
  size_t at() const { return at_; }

  void MoveTo(size_t position) {
    line_ += std::count(text_.begin() + static_cast<std::ptrdiff_t>(at_),
                        text_.begin() + static_cast<std::ptrdiff_t>(position), '\n');
    at_ = position;
    SkipSpace();
  }

  // Whether `letter` is next; then it is passed.
  bool Take(char expected) {
    if (letter() != expected) {
      return false;
    }
    MoveTo(at_ + 1);
    return true;
  }

  // The text of the next value, which is not empty unless a delimiter stands in its place.
  std::string_view TakeValue() {
    int deepest = 0;
    const size_t begin = at_;
    const size_t end = ValueEnd(text_, at_, deepest);
    MoveTo(end);
    return text_.substr(begin, end - begin);
  }

  template <class... Args>
  tl::unexpected<Error> FailHere(fmt::format_string<Args...> format, Args&&... args) const {
    return Fail(ErrorCode::kMalformed, "{}not JSON: {}", At(name_, line_),
                fmt::format(format, std::forward<Args>(args)...));
  }

 private:
  void SkipSpace() {
    for (; !AtEnd() && kWhiteSpace.find(text_[at_]) != std::string_view::npos; ++at_) {
      line_ += text_[at_] == '\n' ? 1 : 0;
    }
  }

  std::string_view name_;
  std::string_view text_;
  size_t at_ = 0;
  int64_t line_ = 1;
};

Status VisitValue(std::string_view name, int64_t line, std::string_view value,
                  const RowVisitor& visit) {
  ETCH_ASSIGN_OR_RETURN(const Json row, Parse(name, line, value));
  return visit(line, row);
}

// Behind "[".
Status VisitArray(std::string_view name, Cursor& cursor, const RowVisitor& visit) {
  if (cursor.Take(']')) {
    return {};
  }
  while (true) {
    const int64_t line = cursor.line();
    ETCH_TRY(VisitValue(name, line, cursor.TakeValue(), visit));
    if (cursor.Take(']')) {
      return {};
    }
    if (!cursor.Take(',')) {
      return cursor.AtEnd() ? cursor.FailHere("the file ends inside its array; is it whole?")
                            : cursor.FailHere("a comma or ] is missing before '{}'",
                                              std::string(1, cursor.letter()));
    }
  }
}

struct Place {
  size_t at = 0;
  int64_t count = 0;
};

// Where the array of objects lies that a single object holds, without parsing its rows. count is
// how many there are.
Place FindArray(std::string_view name, std::string_view text) {
  Cursor cursor(name, text);
  Place place;
  if (!cursor.Take('{')) {
    return place;
  }
  while (cursor.letter() == '"') {
    const std::string_view key = cursor.TakeValue();
    if (!cursor.Take(':')) {
      break;
    }
    Cursor inside = cursor;
    if (key == "\"messages\"" || key == "\"conversations\"") {
      return {};
    }
    if (inside.Take('[') && inside.letter() == '{') {
      place = {cursor.at(), place.count + 1};
    }
    cursor.TakeValue();
    if (!cursor.Take(',')) {
      break;
    }
  }
  return place;
}

}  // namespace

bool IsJsonObject(std::string_view text) {
  const Result<Json> value = Parse("", 1, text);
  return value && value->is_object();
}

Json ParseOrNull(std::string_view text) {
  Result<Json> value = Parse("", 1, text);
  return value ? *std::move(value) : Json();
}

Status VisitJsonLines(std::string_view name, std::string_view text, const RowVisitor& visit) {
  for (int64_t line = 1; !text.empty(); ++line) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view row = text.substr(0, end);
    if (row.find_first_not_of(kWhiteSpace) != std::string_view::npos) {
      ETCH_TRY(VisitValue(name, line, row, visit));
    }
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return {};
}

Status VisitJson(std::string_view name, std::string_view text, const RowVisitor& visit) {
  Cursor cursor(name, text);
  if (cursor.letter() == '{') {
    const Place place = FindArray(name, text);
    if (place.count > 1) {
      return Fail(ErrorCode::kInvalidArgument,
                  "{}the file is an object with {} arrays of objects; leave one, or make each a "
                  "file",
                  At(name, cursor.line()), place.count);
    }
    if (place.count == 1) {
      cursor.MoveTo(place.at);
    }
  }
  if (cursor.Take('[')) {
    ETCH_TRY(VisitArray(name, cursor, visit));
    while (cursor.letter() == '}' || cursor.letter() == ',') {  // the rest of the object around it
      cursor.MoveTo(text.size());
    }
    return cursor.AtEnd() ? Status() : cursor.FailHere("more text behind the array of rows");
  }
  while (!cursor.AtEnd()) {
    const int64_t line = cursor.line();
    const std::string_view value = cursor.TakeValue();
    ETCH_TRY(VisitValue(name, line, value, visit));
  }
  return {};
}

}  // namespace etch::tune::internal
