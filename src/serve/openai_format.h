#pragma once

// /v1/chat/completions and /v1/completions.

#include <memory>

#include "serve/answer_format.h"
#include "serve/completion.h"

namespace etch::serve {

Result<Ask> AskOpenAi(const RouteRequest& route, bool is_chat, bool strict);

}  // namespace etch::serve
