#pragma once

// Rows of JSON, each parsed on its own, so that an error names its line and memory holds one row at
// a time.

#include <string_view>

#include "tune/data/rows.h"

namespace etch::tune::internal {

// Whether `text` is one JSON object as a whole.
bool IsJsonObject(std::string_view text);

// One value a line; blank lines are passed over.
Status VisitJsonLines(std::string_view name, std::string_view text, const RowVisitor& visit);

// An array of rows; or values one after the other. A single object is its one array of objects if
// it holds one and is not itself a row (a list named messages or conversations), otherwise a row.
Status VisitJson(std::string_view name, std::string_view text, const RowVisitor& visit);

// For a value that may hold JSON in a string; null if it holds none.
Json ParseOrNull(std::string_view text);

}  // namespace etch::tune::internal
