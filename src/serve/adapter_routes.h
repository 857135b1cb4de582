#pragma once

// Adapters while the server runs: vLLM's load and unload, llama-server's list and weights, upload
// and removal. Everything stays inside of the folder of --adapters.
//
//   POST   /v1/load_lora_adapter    {"lora_name", "lora_path", "load_inplace"}
//   POST   /v1/unload_lora_adapter  {"lora_name"}
//   POST   /v1/adapters             multipart: name, and adapter_config.json with
//                                   adapter_model.safetensors, or one .gguf
//   DELETE /v1/adapters/NAME        unloads, and removes the files
//   GET    /lora-adapters           [{"id", "name", "path", "scale"}]
//   POST   /lora-adapters           [{"id", "scale"}]: for requests that name no adapter

#include <string>
#include <vector>

#include "serve/access.h"
#include "serve/reply.h"
#include "serve/service.h"

namespace etch::serve {

inline constexpr std::string_view kUploadPath = "/v1/adapters";

// Whether the route changes adapters, which takes an admin.
bool IsAdminRoute(const RouteRequest& route);
// The caller has been checked.
Reply AnswerAdminRoute(Service& service, const RouteRequest& route);

// GET /lora-adapters.
Reply ListLoras(Service& service, const Caller& caller);

// Names of adapters that `caller` may use, sorted.
std::vector<std::string> VisibleAdapters(const Service& service, const Caller& caller);

}  // namespace etch::serve
