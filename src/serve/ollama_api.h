#pragma once

// Ollama's API, for tools that speak only that: /api/chat, /api/generate, /api/tags, /api/show,
// /api/version.

#include <string>

#include "serve/completion.h"
#include "serve/reply.h"

namespace etch::serve {

Result<Ask> AskOllamaChat(const Service& service, const RouteRequest& route, bool strict);
Result<Ask> AskOllamaGenerate(const Service& service, const RouteRequest& route, bool strict);

// Every other path below /api/.
Reply AnswerOllamaRoute(const Service& service, const Caller& caller, const RouteRequest& route);

// Clients write "acme:latest" for "acme".
std::string ModelWithoutTag(const Service& service, std::string model);

// {"error": message}
std::string OllamaError(const std::string& message);

}  // namespace etch::serve
