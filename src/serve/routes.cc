#include "serve/routes.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "serve/adapter_routes.h"
#include "serve/constraint_fields.h"
#include "serve/embeddings_api.h"
#include "serve/error_body.h"
#include "serve/generate_api.h"
#include "serve/json_fields.h"
#include "serve/ollama_api.h"
#include "serve/openai_format.h"
#include "serve/responses_api.h"

namespace etch::serve {
namespace {

constexpr std::string_view kModels = "/v1/models";

Reply NotFound(std::string_view path) {
  return {404, ErrorBodyFor(path, 404, fmt::format("no route {}", path), "not_found")};
}

Reply ModelsReply(const Service& service, const Caller& caller) {
  const AdapterRegistry& adapters = service.adapters;
  std::vector<AdapterState> states = adapters.States();
  std::erase_if(states,
                [&](const AdapterState& state) { return !caller.MayUseAdapter(state.name); });
  return {200, ModelsBody(adapters.base(), caller.MayUseBase(), states, service.started,
                          service.engine.info().context)};
}

Reply ModelReply(const Service& service, const Caller& caller, const std::string& id) {
  const AdapterRegistry& adapters = service.adapters;
  const int64_t context = service.engine.info().context;
  if (id == adapters.base() && caller.MayUseBase()) {
    return {200, ModelBody(id, service.started, context)};
  }
  const std::optional<AdapterState> state = adapters.State(id);
  if (state && caller.MayUseAdapter(id)) {
    return {200, AdapterBody(*state, adapters.base(), service.started, context)};
  }
  return {404, ErrorBody(404, "no model named \"" + id + "\"; GET /v1/models lists them",
                         "model_not_found")};
}

}  // namespace

AskFunction FindAsk(std::string_view path) {
  static constexpr std::pair<std::string_view, AskFunction> kAsks[] = {
      {"/v1/chat/completions", [](const Service&, const RouteRequest& route,
                                  bool strict) { return AskOpenAi(route, true, strict); }},
      {"/v1/completions", [](const Service&, const RouteRequest& route,
                             bool strict) { return AskOpenAi(route, false, strict); }},
      {"/v1/responses", AskResponses},
      {"/v1/embeddings", AskEmbeddings},
      {"/generate", AskGenerate},
      {"/api/chat", AskOllamaChat},
      {"/api/generate", AskOllamaGenerate},
      {"/api/embed", AskOllamaEmbed},
      {"/api/embeddings", AskOllamaEmbeddings},
  };
  const auto* found =
      std::ranges::find(kAsks, path, &std::pair<std::string_view, AskFunction>::first);
  return found == std::end(kAsks) ? nullptr : found->second;
}

Reply AnswerRoute(Service& service, const Caller& caller, const RouteRequest& route) {
  if (route.path.starts_with("/api/")) {
    return AnswerOllamaRoute(service, caller, route);
  }
  if (route.method != Method::kGet) {
    return NotFound(route.path);
  }
  if (route.path == "/lora-adapters") {
    return ListLoras(service, caller);
  }
  if (route.path == kModels || route.path == "/models") {
    return ModelsReply(service, caller);
  }
  if (route.path.starts_with("/v1/models/")) {
    return ModelReply(service, caller, std::string(route.path.substr(kModels.size() + 1)));
  }
  return NotFound(route.path);
}

std::string HealthBody(const Service& service, const Result<Caller>& caller) {
  const engine::SchedulerStatus status = service.scheduler.status();
  const std::vector<std::string> names = service.adapters.Names();
  nlohmann::ordered_json body = {{"status", "ok"},
                                 {"running", status.running},
                                 {"queue_size", status.waiting},
                                 {"adapters", names.size()}};
  std::string running;
  if (caller && caller->admin) {
    running = service.metrics.RunningAdapters();
    body["adapter_names"] = names;
  }
  body["current_adapter"] = running.empty() ? "none" : running;
  return body.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string ErrorBodyFor(std::string_view path, int status, const std::string& message,
                         const std::string& code) {
  return path.starts_with("/api/")
             ? OllamaError(message)
             : ErrorBody(status, message, code, std::string(ConstraintField(message)));
}

}  // namespace etch::serve
