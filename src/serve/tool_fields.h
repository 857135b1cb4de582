#pragma once

// Tools in requests: what a template is given, and what messages say about earlier calls.

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/error.h"
#include "serve/request.h"

namespace etch::serve {

// tools and tool_choice. kUnsupported for a choice that only a constraint could keep.
Status ReadTools(const nlohmann::json& json, CompletionRequest& request);

// The members of a message beside role and content that templates know, as ChatMessage has them;
// a call's arguments become an object, which is what templates take.
Result<std::string> ReadMessageExtra(const nlohmann::json& message);

}  // namespace etch::serve
