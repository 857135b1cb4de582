#pragma once

// Tools in requests: what a template is given, and what messages say about earlier calls.

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/error.h"
#include "serve/request.h"

namespace etch::serve {

// tools and tool_choice.
Status ReadTools(const nlohmann::json& json, CompletionRequest& request);

// What holds an answer to one call of request.forced_calls, in the form that the template teaches:
// between <tool_call> marks, or else Llama 3.1's object. Arguments that say nothing about further
// properties get none.
ConstraintSpec ForcedCall(const CompletionRequest& request, std::string_view chat_template);

// The members of a message beside role and content that templates know, as ChatMessage has them;
// a call's arguments become an object, which is what templates take.
Result<std::string> ReadMessageExtra(const nlohmann::json& message);

}  // namespace etch::serve
