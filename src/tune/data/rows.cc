#include "tune/data/rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "text/utf8.h"
#include "tune/data/csv_rows.h"
#include "tune/data/json_rows.h"

namespace etch::tune::internal {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
constexpr std::string_view kWhiteSpace = " \t\r\n";

// In lower case, with its dot.
std::string Ending(std::string_view name) {
  const size_t slash = name.find_last_of('/');
  const std::string_view base = name.substr(slash == std::string_view::npos ? 0 : slash + 1);
  const size_t dot = base.find_last_of('.');
  std::string ending(dot == std::string_view::npos ? std::string_view() : base.substr(dot));
  std::ranges::transform(ending, ending.begin(), [](char letter) {
    return letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter;
  });
  return ending;
}

struct Magic {
  std::string_view bytes;
  std::string_view format;
};

constexpr std::array kMagics = {Magic{"PAR1", "a Parquet file"},
                                Magic{"ARROW1", "an Arrow file"},
                                Magic{"\x1F\x8B", "compressed (gzip)"},
                                Magic{"PK\x03\x04", "a ZIP archive"},
                                Magic{"\x28\xB5\x2F\xFD", "compressed (zstd)"},
                                Magic{"\xFD"
                                      "7zXZ",
                                      "compressed (xz)"},
                                Magic{"%PDF-", "a PDF document"}};

bool FirstLineIsAnObject(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(kWhiteSpace), text.size()));
  const std::string_view line = text.substr(0, text.find('\n'));
  return line.starts_with('{') && line.size() <= kMaxRowBytes && IsJsonObject(line);
}

}  // namespace

std::string At(std::string_view name, int64_t line) { return fmt::format("{}:{}: ", name, line); }

Result<std::string_view> CheckText(std::string_view name, std::string_view content) {
  if (content.size() > kMaxFileBytes) {
    return Fail(ErrorCode::kUnsupported, "{}: {} bytes, at most {} are read; cut it into files",
                name, content.size(), kMaxFileBytes);
  }
  for (const Magic& magic : kMagics) {
    if (content.starts_with(magic.bytes)) {
      return Fail(ErrorCode::kUnsupported,
                  "{}: this is {}, not text; JSONL, JSON, CSV and plain text are read", name,
                  magic.format);
    }
  }
  if (const size_t nul = content.find('\0'); nul != std::string_view::npos) {
    return Fail(ErrorCode::kMalformed,
                "{}: a binary file, or text in UTF-16 (byte {} is 0); text in UTF-8 is read", name,
                nul);
  }
  if (const size_t valid = text::ValidUtf8Prefix(content); valid < content.size()) {
    const std::string_view before = content.substr(0, valid);
    const int64_t line = 1 + std::ranges::count(before, '\n');
    const size_t line_begin = before.find_last_of('\n') + 1;  // npos + 1 is 0
    return Fail(ErrorCode::kMalformed, "{}not UTF-8: byte {} of the line is 0x{:02X}",
                At(name, line), valid - line_begin + 1, static_cast<uint8_t>(content[valid]));
  }
  if (content.starts_with(kByteOrderMark)) {
    content.remove_prefix(kByteOrderMark.size());
  }
  if (content.find_first_not_of(kWhiteSpace) == std::string_view::npos) {
    return Fail(ErrorCode::kMalformed, "{}: the file is empty", name);
  }
  return content;
}

Result<FileFormat> DetectFormat(std::string_view name, std::string_view text) {
  const std::string ending = Ending(name);
  const bool is_prose = ending == ".txt" || ending == ".md";
  const bool is_table = ending == ".csv" || ending == ".tsv";
  const bool is_lines = ending == ".jsonl" || ending == ".ndjson";
  if (FirstLineIsAnObject(text)) {
    return FileFormat::kJsonLines;
  }
  if (is_prose) {
    return FileFormat::kPlainText;
  }
  if (is_table) {
    return FileFormat::kCsv;
  }
  const char first = text[std::min(text.find_first_not_of(kWhiteSpace), text.size() - 1)];
  if (first == '[') {
    return FileFormat::kJson;
  }
  if (is_lines) {
    return FileFormat::kJsonLines;
  }
  if (first == '{' || ending == ".json") {
    return FileFormat::kJson;
  }
  return Fail(ErrorCode::kUnsupported,
              "{}: neither JSON nor a name that ends in .jsonl, .json, .csv, .tsv, .txt or .md; "
              "rename it as what it is",
              name);
}

Status VisitRows(std::string_view name, std::string_view text, FileFormat format,
                 const RowVisitor& visit) {
  int64_t count = 0;
  const RowVisitor counted = [&](int64_t line, const Json& row) -> Status {
    if (++count > kMaxRows) {
      return Fail(ErrorCode::kUnsupported, "{}more than {} rows; cut the file", At(name, line),
                  kMaxRows);
    }
    if (!row.is_object()) {
      return Fail(ErrorCode::kMalformed, "{}a row is an object {{…}}, this one is {} {}",
                  At(name, line), row.is_array() ? "an" : "a", row.type_name());
    }
    return visit(line, row);
  };
  switch (format) {
    case FileFormat::kJsonLines:
      return VisitJsonLines(name, text, counted);
    case FileFormat::kJson:
      return VisitJson(name, text, counted);
    case FileFormat::kCsv:
      return VisitCsv(name, text, Ending(name) == ".tsv" ? '\t' : ',', counted);
    case FileFormat::kPlainText:
      break;
  }
  return {};
}

}  // namespace etch::tune::internal
