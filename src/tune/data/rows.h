#pragma once

// The content of a dataset file as rows: which format it has, that it is text at all, and each row
// with its line. Rows of CSV are objects of strings.

#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "base/error.h"
#include "tune/data/dataset.h"

namespace etch::tune::internal {

using Json = nlohmann::json;
// Called for each row, in order; an error ends the reading.
using RowVisitor = std::function<Status(int64_t line, const Json& row)>;

// "name:line: ".
std::string At(std::string_view name, int64_t line);

// `content` without a byte order mark, or what keeps it from being text: nothing in it, NULs (or
// the magic of a known binary format), bytes that are no UTF-8.
Result<std::string_view> CheckText(std::string_view name, std::string_view content);

// `text` has passed CheckText. By content first: an ending is believed where several readings are
// possible.
Result<FileFormat> DetectFormat(std::string_view name, std::string_view text);

// Every row of a format other than plain text.
Status VisitRows(std::string_view name, std::string_view text, FileFormat format,
                 const RowVisitor& visit);

}  // namespace etch::tune::internal
