// A path is taken when it lies, with every link followed, below the folder of --adapters, and so
// does everything in it.

#include "serve/adapter_routes.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "adapter/adapter.h"
#include "serve/adapter_files.h"
#include "serve/error_body.h"
#include "serve/json_fields.h"
#include "serve/response.h"

namespace etch::serve {
namespace {

namespace fs = std::filesystem;

Reply Success(const std::string& message) { return {200, message, kTextType}; }

bool IsBelow(const fs::path& path, const fs::path& root) {
  const auto [at_root, at_path] = std::mismatch(root.begin(), root.end(), path.begin(), path.end());
  return at_root == root.end() && at_path != path.end();
}

// `given` inside of the folder, as the registry knows its paths: `folder`/rest.
Result<fs::path> Confine(const fs::path& folder, const fs::path& given) {
  std::error_code error;
  const fs::path root = fs::canonical(folder, error);
  if (error) {
    return Fail(ErrorCode::kNotFound, "{}: {}", folder.string(), error.message());
  }
  const auto outside = [&given] {
    return Fail(ErrorCode::kInvalidArgument, "{}: does not lie in the folder of adapters",
                given.string());
  };
  fs::path real = fs::canonical(given.is_absolute() ? given : root / given, error);
  if (error) {
    // Whether there is something outside of the folder is nobody's business.
    const fs::path plain = fs::weakly_canonical(given.is_absolute() ? given : root / given, error);
    if (error || !IsBelow(plain, root)) {
      return outside();
    }
    return Fail(ErrorCode::kNotFound, "{}: no such file or directory", given.string());
  }
  if (!IsBelow(real, root)) {
    return outside();
  }
  if (fs::is_directory(real, error)) {
    for (fs::directory_iterator entry(real, error), end; !error && entry != end;
         entry.increment(error)) {
      std::error_code broken;
      if (!IsBelow(fs::canonical(entry->path(), broken), root) || broken) {
        return outside();
      }
    }
  }
  if (error) {
    return Fail(ErrorCode::kIo, "{}: {}", given.string(), error.message());
  }
  return folder / real.lexically_relative(root);
}

Result<Reply> Load(Service& service, std::string_view body) {
  ETCH_ASSIGN_OR_RETURN(const Json json, ParseObject(body));
  std::string name;
  std::string path;
  bool in_place = false;
  ETCH_TRY(ReadString(json, "lora_name", name));
  ETCH_TRY(ReadString(json, "lora_path", path));
  ETCH_TRY(ReadBool(json, "load_inplace", in_place));
  if (name.empty() || path.empty()) {
    return ErrorReply(400, "Both 'lora_name' and 'lora_path' must be provided.",
                      "invalid_argument");
  }
  ETCH_TRY(CheckAdapterName(name));
  ETCH_ASSIGN_OR_RETURN(const fs::path confined, Confine(service.options.adapters, path));
  if (!in_place && service.adapters.State(name)) {
    return ErrorReply(400,
                      "The lora adapter '" + name +
                          "' has already been loaded. If you want to load the adapter in place, "
                          "set 'load_inplace' to True.",
                      "already_loaded");
  }
  ETCH_TRY(in_place ? service.adapters.Replace(name, confined)
                    : service.adapters.Add(name, confined));
  service.loras.IdOf(name);
  return Success("Success: LoRA adapter '" + name + "' added successfully.");
}

Result<Reply> Unload(Service& service, std::string_view body) {
  ETCH_ASSIGN_OR_RETURN(const Json json, ParseObject(body));
  std::string name;
  ETCH_TRY(ReadString(json, "lora_name", name));
  if (name.empty()) {
    return ErrorReply(400, "'lora_name' needs to be provided to unload a LoRA adapter.",
                      "invalid_argument");
  }
  if (!service.adapters.Remove(name)) {
    return ErrorReply(404, "The lora adapter '" + name + "' cannot be found.", "not_found");
  }
  return Success("Success: LoRA adapter '" + name + "' removed successfully.");
}

Result<Reply> SetScales(Service& service, std::string_view body) {
  if (service.tenancy != nullptr) {
    return ErrorReply(400,
                      "global scales would change other tenants' answers; give \"lora\" in the "
                      "request",
                      "not_supported");
  }
  // The body is a list, which ParseObject does not take.
  ETCH_ASSIGN_OR_RETURN(const Json json, ParseObject("{\"list\":" + std::string(body) + "}"));
  const Json* list = Field(json, "list");
  if (list == nullptr || !list->is_array()) {
    return ErrorReply(400, "the body is not a list of {\"id\", \"scale\"}", "invalid_argument");
  }
  std::map<int64_t, double> scales;
  for (const Json& item : *list) {
    if (!item.is_object()) {
      return ErrorReply(400, "the list holds something that is not an object", "invalid_argument");
    }
    ETCH_ASSIGN_OR_RETURN(const std::optional<int64_t> id,
                          ReadInteger(item, "id", 0, int64_t{1} << 31));
    double scale = 0.0;
    ETCH_TRY(ReadNumber(item, "scale", scale));
    ETCH_TRY(adapter::ToWeightQ16(scale));
    if (!id || service.loras.NameOf(*id).empty()) {
      return ErrorReply(400, "no adapter has this id; GET /lora-adapters lists them",
                        "invalid_argument");
    }
    scales[*id] = scale;
  }
  service.loras.SetScales(std::move(scales));
  return Reply{200, R"({"success":true})"};
}

Result<Reply> Dispatch(Service& service, const RouteRequest& route) {
  if (route.path == "/v1/unload_lora_adapter") {
    return Unload(service, route.body);
  }
  if (route.path == "/lora-adapters") {
    return SetScales(service, route.body);
  }
  if (route.method == Method::kDelete) {
    return RemoveAdapter(service, std::string(route.path.substr(kUploadPath.size() + 1)));
  }
  if (service.options.adapters.empty()) {
    return ErrorReply(400, "the server has no folder of adapters; start it with --adapters",
                      "not_supported");
  }
  return route.path == kUploadPath ? UploadAdapter(service, route) : Load(service, route.body);
}

}  // namespace

bool IsAdminRoute(const RouteRequest& route) {
  if (route.method == Method::kDelete) {
    return route.path.starts_with(std::string(kUploadPath) + "/");
  }
  return route.method == Method::kPost &&
         (route.path == "/v1/load_lora_adapter" || route.path == "/v1/unload_lora_adapter" ||
          route.path == kUploadPath || route.path == "/lora-adapters");
}

Reply AnswerAdminRoute(Service& service, const RouteRequest& route) {
  Result<Reply> reply = Dispatch(service, route);
  return reply ? std::move(*reply) : ErrorReply(reply.error());
}

Reply ListLoras(Service& service, const Caller& caller) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  std::map<int64_t, std::string> by_id;
  for (const std::string& name : VisibleAdapters(service, caller)) {
    by_id[service.loras.IdOf(name)] = name;
  }
  for (const auto& [id, name] : by_id) {
    list.push_back({{"id", id},
                    {"name", name},
                    {"path", service.adapters.PathOf(name).filename().string()},
                    {"scale", service.loras.Scale(id)}});
  }
  return {200, DumpJson(list)};
}

std::vector<std::string> VisibleAdapters(const Service& service, const Caller& caller) {
  std::vector<std::string> names = service.adapters.Names();
  std::erase_if(names, [&](const std::string& name) { return !caller.MayUseAdapter(name); });
  return names;
}

}  // namespace etch::serve
