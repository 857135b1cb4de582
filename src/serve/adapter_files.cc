#include "serve/adapter_files.h"

#include <unistd.h>  // getpid

#include <algorithm>
#include <atomic>
#include <chrono>
#include <nlohmann/json.hpp>

#include "adapter/adapter.h"
#include "base/file.h"
#include "serve/error_body.h"
#include "serve/json_fields.h"
#include "serve/multipart.h"
#include "serve/response.h"

namespace etch::serve {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxNameBytes = 128;
constexpr std::string_view kConfigFile = "adapter_config.json";
constexpr std::string_view kWeightsFile = "adapter_model.safetensors";
constexpr std::string_view kAside = ".aside-";

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

bool IsName(std::string_view name) {
  const auto is_allowed = [](char character) {
    return (character >= 'a' && character <= 'z') || (character >= 'A' && character <= 'Z') ||
           (character >= '0' && character <= '9') || character == '.' || character == '_' ||
           character == '-';
  };
  return !name.empty() && name.size() <= kMaxNameBytes && name.front() != '.' &&
         !name.ends_with(".gguf") && std::ranges::all_of(name, is_allowed);
}

// A path in `folder` that nothing has yet, and no reading of the folder looks at.
fs::path AsidePath(const fs::path& folder) {
  static std::atomic<uint64_t> counter = 0;
  std::error_code ignored;
  while (true) {  // numbers of processes come again
    const fs::path path = folder / fmt::format("{}{}-{}", kAside, ::getpid(), counter.fetch_add(1));
    if (!fs::exists(fs::symlink_status(path, ignored))) {
      return path;
    }
  }
}

// A folder that is gone when it leaves its scope.
class ScratchFolder {
 public:
  static Result<ScratchFolder> Create(const fs::path& parent) {
    fs::path path = AsidePath(parent);
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
struct Form {
  std::string name;
  std::string_view config;   // PEFT
  std::string_view weights;  // PEFT
  std::string_view gguf;

  bool is_gguf() const { return !gguf.empty(); }
};

Result<Form> ReadUpload(const RouteRequest& route) {
  ETCH_ASSIGN_OR_RETURN(const std::vector<FormPart> parts,
                        ParseForm(route.content_type, route.body));
  Form out;
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
  ETCH_TRY(CheckAdapterName(out.name));
  const bool is_peft = !out.config.empty() && !out.weights.empty();
  const bool is_mixed = out.is_gguf() && (!out.config.empty() || !out.weights.empty());
  if (is_mixed || (!is_peft && !out.is_gguf())) {
    return Fail(ErrorCode::kInvalidArgument, "the form needs {} with {}, or one .gguf", kConfigFile,
                kWeightsFile);
  }
  return out;
}

// Writes the files below `folder`; returns the adapter's path.
Result<fs::path> WriteFiles(const Form& upload, const fs::path& folder) {
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

Result<Reply> Upload(Service& service, const RouteRequest& route) {
  const fs::path& folder = service.options.adapters;
  ETCH_ASSIGN_OR_RETURN(const Form upload, ReadUpload(route));
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
  if (const Status added = service.adapters.Add(upload.name, path); !added) {
    fs::rename(path, staged, error);
    return tl::unexpected(added.error());
  }
  SyncFolder(folder);
  service.loras.IdOf(upload.name);
  const std::optional<AdapterState> state = service.adapters.State(upload.name);
  return Reply{201, AdapterBody(state.value_or(AdapterState{upload.name}), service.adapters.base(),
                                service.started, service.engine.info().context)};
}

// Whether `path` holds what no adapter brings, and nobody expects to lose.
bool HoldsFolders(const fs::path& path) {
  std::error_code error;
  for (fs::directory_iterator entry(path, error), end; !error && entry != end;
       entry.increment(error)) {
    if (entry->is_directory(error)) {
      return true;
    }
  }
  return false;
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
  if (service.adapters.NamesOf(path).size() > 1) {
    return ErrorReply(
        409, fmt::format("other names were loaded from \"{}\"; unload them first", name), "in_use");
  }
  if (HoldsFolders(path)) {
    return ErrorReply(
        409,
        fmt::format("\"{}\" holds folders, which are no part of an adapter; move them "
                    "away, or unload it",
                    name),
        "not_empty");
  }
  // In one step out of the folder's sight, so that nothing is left that is half an adapter.
  const fs::path aside = AsidePath(path.parent_path());
  fs::rename(path, aside, error);
  if (error) {
    return DiskError(path, "remove", error);
  }
  ETCH_TRY(service.adapters.Remove(name));
  SyncFolder(path.parent_path());
  fs::remove_all(aside, error);  // what stays is swept at a later start
  Json body = {{"id", name}, {"object", "model"}, {"deleted", true}};
  return Reply{200, DumpJson(body)};
}

}  // namespace

Status CheckAdapterName(const std::string& name) {
  if (!IsName(name)) {
    return Fail(ErrorCode::kInvalidArgument,
                "\"{}\" is no adapter's name: 1 to {} letters, digits, '.', '_' and '-', not "
                "beginning with '.' and not ending in .gguf",
                name, kMaxNameBytes);
  }
  return {};
}

Reply UploadAdapter(Service& service, const RouteRequest& route) {
  Result<Reply> reply = Upload(service, route);
  return reply ? std::move(*reply) : ErrorReply(reply.error());
}

Reply RemoveAdapter(Service& service, const std::string& name) {
  Result<Reply> reply = Remove(service, name);
  return reply ? std::move(*reply) : ErrorReply(reply.error());
}

void SweepAside(const fs::path& folder) {
  constexpr std::chrono::hours kOld{1};  // another server may be at an upload
  std::error_code error;
  std::vector<fs::path> old;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    const bool is_aside = entry->path().filename().string().starts_with(kAside);
    const auto changed = fs::last_write_time(entry->path(), error);
    if (is_aside && !error && fs::file_time_type::clock::now() - changed > kOld) {
      old.push_back(entry->path());
    }
  }
  for (const fs::path& path : old) {
    fs::remove_all(path, error);
  }
}

}  // namespace etch::serve
