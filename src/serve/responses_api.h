#pragma once

// POST /v1/responses: OpenAI's newer surface, stateless: nothing is stored, nothing is referred to.

#include "serve/completion.h"

namespace etch::serve {

Result<Ask> AskResponses(const Service& service, const RouteRequest& route, bool strict);

}  // namespace etch::serve
