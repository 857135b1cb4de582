#pragma once

// Rows of CSV (RFC 4180): fields in quotes may hold separators, line ends and doubled quotes; the
// first record names the columns.

#include <string_view>

#include "tune/data/rows.h"

namespace etch::tune::internal {

// Each record below the header as an object of strings. A record's line is its first.
Status VisitCsv(std::string_view name, std::string_view text, char separator,
                const RowVisitor& visit);

}  // namespace etch::tune::internal
