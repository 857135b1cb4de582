#pragma once

#include <string>
#include <string_view>

namespace etch {

// `text` with & < > " ' as HTML entities.
std::string EscapeHtml(std::string_view text);

}  // namespace etch
