#pragma once

#include <string_view>

#include "text/jinja/value.h"

namespace etch::jinja {

// JSON → values, in the order of the text. kMalformed with the position for broken JSON and for an
// integer above 64 bits; kNoSpace when it exceeds the meter.
Result<Value> ReadJson(std::string_view text, Meter& meter);

}  // namespace etch::jinja
