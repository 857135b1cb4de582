#include "tune/data/csv_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

namespace etch::tune::internal {
namespace {

constexpr size_t kMaxColumns = 256;

class CsvReader {
 public:
  CsvReader(std::string_view name, std::string_view text, char separator)
      : name_(name), text_(text), separator_(separator) {}

  bool AtEnd() const { return at_ >= text_.size(); }
  int64_t line() const { return line_; }

  // The next record; one empty field for a blank line.
  Result<std::vector<std::string>> TakeRecord() {
    std::vector<std::string> fields;
    record_line_ = line_;
    record_begin_ = at_;
    while (true) {
      ETCH_ASSIGN_OR_RETURN(std::string field, TakeField());
      fields.push_back(std::move(field));
      if (at_ - record_begin_ > kMaxRowBytes) {
        return Fail(ErrorCode::kUnsupported, "{}a row of more than {} bytes",
                    At(name_, record_line_), kMaxRowBytes);
      }
      if (AtEnd()) {
        return fields;
      }
      const char letter = text_[at_++];
      if (letter == '\n') {
        ++line_;
        return fields;
      }
    }
  }

 private:
  bool AtLineEnd() const {
    return AtEnd() || text_[at_] == '\n' || text_.substr(at_).starts_with("\r\n");
  }

  // Up to the separator or the line's end ("\r" before it is passed).
  Result<std::string> TakeField() {
    std::string field;
    if (!AtEnd() && text_[at_] == '"') {
      ETCH_ASSIGN_OR_RETURN(field, TakeQuoted());
      if (!AtLineEnd() && text_[at_] != separator_) {
        return Fail(ErrorCode::kMalformed,
                    "{}text behind a closing quote; quotes inside a field are doubled (\"\")",
                    At(name_, line_));
      }
    } else {
      const size_t begin = at_;
      while (!AtLineEnd() && text_[at_] != separator_) {
        ++at_;
      }
      field = text_.substr(begin, at_ - begin);
    }
    if (!AtEnd() && text_[at_] == '\r') {
      ++at_;
    }
    return field;
  }

  Result<std::string> TakeQuoted() {
    std::string field;
    const int64_t begin_line = line_;
    for (++at_; !AtEnd(); ++at_) {
      if (text_[at_] == '"') {
        if (!text_.substr(at_ + 1).starts_with('"')) {
          ++at_;
          return field;
        }
        ++at_;
      }
      line_ += text_[at_] == '\n' ? 1 : 0;
      field += text_[at_];
    }
    return Fail(ErrorCode::kMalformed, "{}a quoted field is never closed", At(name_, begin_line));
  }

  std::string_view name_;
  std::string_view text_;
  char separator_;
  size_t at_ = 0;
  int64_t line_ = 1;
  int64_t record_line_ = 1;
  size_t record_begin_ = 0;
};

Status CheckHeader(std::string_view name, const std::vector<std::string>& header) {
  if (header.size() > kMaxColumns) {
    return Fail(ErrorCode::kUnsupported, "{}{} columns, at most {} are read", At(name, 1),
                header.size(), kMaxColumns);
  }
  std::set<std::string_view> seen;
  for (const std::string& column : header) {
    if (column.empty()) {
      return Fail(ErrorCode::kMalformed, "{}the header has a column without a name", At(name, 1));
    }
    if (!seen.insert(column).second) {
      return Fail(ErrorCode::kMalformed, "{}the header has two columns \"{}\"", At(name, 1),
                  column);
    }
  }
  return {};
}

}  // namespace

Status VisitCsv(std::string_view name, std::string_view text, char separator,
                const RowVisitor& visit) {
  CsvReader reader(name, text, separator);
  ETCH_ASSIGN_OR_RETURN(const std::vector<std::string> header, reader.TakeRecord());
  ETCH_TRY(CheckHeader(name, header));
  while (!reader.AtEnd()) {
    const int64_t line = reader.line();
    ETCH_ASSIGN_OR_RETURN(std::vector<std::string> fields, reader.TakeRecord());
    if (fields.size() == 1 && fields[0].empty()) {
      continue;  // a blank line
    }
    if (fields.size() != header.size()) {
      return Fail(ErrorCode::kMalformed, "{}{} fields, and the header has {}", At(name, line),
                  fields.size(), header.size());
    }
    Json row = Json::object();
    for (size_t column = 0; column < header.size(); ++column) {
      row[header[column]] = std::move(fields[column]);
    }
    ETCH_TRY(visit(line, row));
  }
  return {};
}

}  // namespace etch::tune::internal
