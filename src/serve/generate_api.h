#pragma once

// POST /generate: the chip service's own shape, with its statistics of every request.

#include "serve/completion.h"

namespace etch::serve {

Result<Ask> AskGenerate(const Service& service, const RouteRequest& route, bool strict);

}  // namespace etch::serve
