#pragma once

// Which route is whose: one file an API surface answers it.

#include <string>
#include <string_view>

#include "serve/completion.h"
#include "serve/reply.h"
#include "serve/service.h"

namespace etch::serve {

// Reads the request of a route that starts a completion.
using AskFunction = Result<Ask> (*)(const Service& service, const RouteRequest& route, bool strict);
// Null for paths that start none.
AskFunction FindAsk(std::string_view path);

// Answers everything else; 404 for what there is not.
Reply AnswerRoute(Service& service, const Caller& caller, const RouteRequest& route);

// /health, for anybody. Names are shown to who may see them all: to an admin, and where there are
// no keys.
std::string HealthBody(const Service& service, const Result<Caller>& caller);

// ErrorBody as the surface of `path` has it.
std::string ErrorBodyFor(std::string_view path, int status, const std::string& message,
                         const std::string& code);

}  // namespace etch::serve
