// A path is taken when it lies, with every link followed, below the folder of --adapters, and so
// does everything in it. Names are letters, digits, '.', '_' and '-', so that they are also names
// of files, labels and parts of paths.
//
// An upload is written below `.upload-…` in that folder, which no reading of the folder looks
// into, read as any adapter is, and only then renamed into its place.

#include "serve/adapter_routes.h"

#include <unistd.h>  // getpid

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "adapter/adapter.h"
#include "base/file.h"
#include "serve/json_fields.h"
#include "serve/multipart.h"
#include "serve/response.h"

namespace etch::serve {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxNameBytes = 128;
constexpr std::string_view kConfigFile = "adapter_config.json";
constexpr std::string_view kWeightsFile = "adapter_model.safetensors";

Reply ErrorReply(int status, const std::string& message, const std::string& code) {
  return {status, ErrorBody(status, message, code)};
}

Reply ErrorReply(const Error& error) {
  return ErrorReply(HttpStatus(error.code), error.message, std::string(ErrorCodeName(error.code)));
}

// Of an upload: here a lack of space is the disk's.
Reply DiskReply(const Error& error) {
  return error.code == ErrorCode::kNoSpace
             ? ErrorReply(507, error.message, std::string(ErrorCodeName(error.code)))
             : ErrorReply(error);
}

// What the system said of `path`.
tl::unexpected<Error> DiskError(const fs::path& path, std::string_view action,
                                const std::error_code& error) {
  const bool is_full = error == std::errc::no_space_on_device;
  return Fail(is_full ? ErrorCode::kNoSpace : ErrorCode::kIo, "{}: cannot {}: {}", path.string(),
              action, error.message());
}

Reply Success(const std::string& message) { return {200, message, kTextType}; }

bool IsName(std::string_view name) {
  const auto is_allowed = [](char character) {
    return (character >= 'a' && character <= 'z') || (character >= 'A' && character <= 'Z') ||
           (character >= '0' && character <= '9') || character == '.' || character == '_' ||
           character == '-';
  };
  return !name.empty() && name.size() <= kMaxNameBytes && name.front() != '.' &&
         std::ranges::all_of(name, is_allowed);
}

Status CheckName(const std::string& name) {
  if (!IsName(name)) {
    return Fail(ErrorCode::kInvalidArgument,
                "\"{}\" is no adapter's name: 1 to {} letters, digits, '.', '_' and '-', not "
                "beginning with '.'",
                name, kMaxNameBytes);
  }
  return {};
}

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
  ETCH_TRY(CheckName(name));
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

// A folder that is gone when it leaves its scope.
class ScratchFolder {
 public:
  static Result<ScratchFolder> Create(const fs::path& parent) {
    static std::atomic<uint64_t> counter = 0;
    fs::path path = parent / fmt::format(".upload-{}-{}", ::getpid(), counter.fetch_add(1));
    std::error_code error;
    fs::create_directory(path, error);
    if (error) {
      return DiskError(path, "create", error);
    }
    return ScratchFolder(std::move(path));
  }
  ~ScratchFolder() {
    if (!path_.empty()) {
      std::error_code ignored;
      fs::remove_all(path_, ignored);
    }
  }
  ScratchFolder(ScratchFolder&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  ScratchFolder& operator=(ScratchFolder&&) = delete;

  const fs::path& path() const { return path_; }

 private:
  explicit ScratchFolder(fs::path path) : path_(std::move(path)) {}
  fs::path path_;
};

// What an upload holds.
struct Upload {
  std::string name;
  std::string_view config;   // PEFT
  std::string_view weights;  // PEFT
  std::string_view gguf;

  bool is_gguf() const { return !gguf.empty(); }
};

Result<Upload> ReadUpload(const RouteRequest& route) {
  ETCH_ASSIGN_OR_RETURN(const std::vector<FormPart> parts,
                        ParseForm(route.content_type, route.body));
  Upload out;
  for (const FormPart& part : parts) {
    // By the file's name where there is one: forms call their files anything.
    const std::string& what = part.file_name.empty() ? part.name : part.file_name;
    if (what == kConfigFile) {
      out.config = part.content;
    } else if (what == kWeightsFile) {
      out.weights = part.content;
    } else if (what.ends_with(".gguf")) {
      out.gguf = part.content;
    } else if (part.name == "name" && part.file_name.empty()) {
      out.name = std::string(part.content);
    } else {
      return Fail(ErrorCode::kInvalidArgument,
                  "the form holds \"{}\"; it takes name, and {} with {}, or one .gguf", what,
                  kConfigFile, kWeightsFile);
    }
  }
  ETCH_TRY(CheckName(out.name));
  const bool is_peft = !out.config.empty() && !out.weights.empty();
  const bool is_mixed = out.is_gguf() && (!out.config.empty() || !out.weights.empty());
  if (is_mixed || (!is_peft && !out.is_gguf())) {
    return Fail(ErrorCode::kInvalidArgument, "the form needs {} with {}, or one .gguf", kConfigFile,
                kWeightsFile);
  }
  return out;
}

// Writes the files below `folder`; returns the adapter's path.
Result<fs::path> WriteFiles(const Upload& upload, const fs::path& folder) {
  const auto write = [](const fs::path& path, std::string_view content) {
    return WriteFileAtomically(path, AsBytes(content));
  };
  if (upload.is_gguf()) {
    const fs::path path = folder / (upload.name + ".gguf");
    ETCH_TRY(write(path, upload.gguf));
    return path;
  }
  const fs::path path = folder / upload.name;
  std::error_code error;
  fs::create_directory(path, error);
  if (error) {
    return DiskError(path, "create", error);
  }
  ETCH_TRY(write(path / kConfigFile, upload.config));
  ETCH_TRY(write(path / kWeightsFile, upload.weights));
  return path;
}

Result<Reply> TakeUpload(Service& service, const RouteRequest& route) {
  const fs::path& folder = service.options.adapters;
  ETCH_ASSIGN_OR_RETURN(const Upload upload, ReadUpload(route));
  const auto is_taken = [&] {
    std::error_code ignored;
    return upload.name == service.adapters.base() ||
           service.adapters.State(upload.name).has_value() ||
           fs::exists(fs::symlink_status(folder / upload.name, ignored)) ||
           fs::exists(fs::symlink_status(folder / (upload.name + ".gguf"), ignored));
  };
  const auto taken = [&upload] {
    return ErrorReply(409,
                      fmt::format("there is a model or a file named \"{}\" already; remove it "
                                  "first, or choose another name",
                                  upload.name),
                      "already_exists");
  };
  if (is_taken()) {
    return taken();
  }
  const Result<ScratchFolder> scratch = ScratchFolder::Create(folder);
  if (!scratch) {
    return DiskReply(scratch.error());
  }
  const Result<fs::path> written = WriteFiles(upload, scratch->path());
  if (!written) {
    return DiskReply(written.error());
  }
  const fs::path& staged = *written;
  if (const auto read = adapter::ReadAdapter(staged, service.engine.image().config()); !read) {
    return ErrorReply(400, "the upload is no adapter of this base: " + read.error().message,
                      std::string(ErrorCodeName(read.error().code)));
  }
  const fs::path path = folder / staged.filename();
  const auto held = service.adapters.HoldFolder();
  if (is_taken()) {  // while it was checked
    return taken();
  }
  std::error_code error;
  fs::rename(staged, path, error);
  if (error) {
    const Result<Reply> failed = DiskError(path, "move into its place", error);
    return DiskReply(failed.error());
  }
  ETCH_TRY(service.adapters.Add(upload.name, path));
  service.loras.IdOf(upload.name);
  const std::optional<AdapterState> state = service.adapters.State(upload.name);
  return Reply{201, AdapterBody(state.value_or(AdapterState{upload.name}), service.adapters.base(),
                                service.started, service.engine.info().context)};
}

Result<Reply> Remove(Service& service, const std::string& name) {
  const auto held = service.adapters.HoldFolder();
  const fs::path path = service.adapters.PathOf(name);
  if (path.empty()) {
    return ErrorReply(404, "no adapter named \"" + name + "\" is loaded", "not_found");
  }
  // What was loaded from a place that others use, too, stays there.
  std::error_code error;
  const bool is_own = fs::equivalent(path.parent_path(), service.options.adapters, error) &&
                      (path.filename() == name || path.filename() == name + ".gguf");
  if (!is_own) {
    return ErrorReply(400, "\"" + name + "\" was not read from a file of its own name; unload it",
                      "invalid_argument");
  }
  ETCH_TRY(service.adapters.Remove(name));
  fs::remove_all(path, error);
  if (error) {
    return Fail(ErrorCode::kIo, "{}: cannot remove: {}", path.string(), error.message());
  }
  Json body = {{"id", name}, {"object", "model"}, {"deleted", true}};
  return Reply{200, DumpJson(body)};
}

Result<Reply> Dispatch(Service& service, const RouteRequest& route) {
  if (route.path == "/v1/unload_lora_adapter") {
    return Unload(service, route.body);
  }
  if (route.path == "/lora-adapters") {
    return SetScales(service, route.body);
  }
  if (route.method == Method::kDelete) {
    return Remove(service, std::string(route.path.substr(kUploadPath.size() + 1)));
  }
  if (service.options.adapters.empty()) {
    return ErrorReply(400, "the server has no folder of adapters; start it with --adapters",
                      "not_supported");
  }
  return route.path == kUploadPath ? TakeUpload(service, route) : Load(service, route.body);
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
  return {200, list.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace)};
}

std::vector<std::string> VisibleAdapters(const Service& service, const Caller& caller) {
  std::vector<std::string> names = service.adapters.Names();
  std::erase_if(names, [&](const std::string& name) { return !caller.MayUseAdapter(name); });
  return names;
}

}  // namespace etch::serve
