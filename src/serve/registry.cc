#include "serve/registry.h"

#include <algorithm>
#include <set>

#include "adapter/adapter.h"

namespace etch::serve {

namespace {

namespace fs = std::filesystem;

// The adapters of a folder by path, sorted.
Result<std::vector<fs::path>> AdaptersIn(const fs::path& folder) {
  std::error_code error;
  std::error_code ignored;
  std::vector<fs::path> paths;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    const bool is_peft = fs::exists(entry->path() / "adapter_config.json", ignored);
    if (is_peft || entry->path().extension() == ".gguf") {
      paths.push_back(entry->path());
    }
  }
  if (error) {
    return Fail(ErrorCode::kNotFound, "{}: cannot read the folder of adapters: {}", folder.string(),
                error.message());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

std::string NameOf(const fs::path& path) {
  return (path.extension() == ".gguf" ? path.stem() : path.filename()).string();
}

fs::file_time_type ChangeTime(const fs::path& path) {
  std::error_code ignored;
  fs::file_time_type latest = fs::last_write_time(path, ignored);
  for (fs::directory_iterator entry(path, ignored), end; !ignored && entry != end;
       entry.increment(ignored)) {
    latest = std::max(latest, entry->last_write_time(ignored));
  }
  return latest;
}

}  // namespace

AdapterRegistry::AdapterRegistry(const model::Config& config, std::string base)
    : config_(config), base_(std::move(base)) {}

Status AdapterRegistry::LoadFolder(const fs::path& folder) {
  ETCH_ASSIGN_OR_RETURN(const std::vector<fs::path> paths, AdaptersIn(folder));
  for (const fs::path& path : paths) {
    ETCH_TRY(Load(NameOf(path), path));
  }
  return {};
}

Status AdapterRegistry::ReloadFolder(const fs::path& folder) {
  ETCH_ASSIGN_OR_RETURN(const std::vector<fs::path> paths, AdaptersIn(folder));
  Status first_failure;
  std::set<fs::path> present;
  for (const fs::path& path : paths) {
    present.insert(path);
    const fs::file_time_type changed = ChangeTime(path);
    {
      const std::lock_guard lock(mutex_);
      const auto found = adapters_.find(NameOf(path));
      if (found != adapters_.end() && found->second.path == path &&
          found->second.changed == changed) {
        continue;
      }
    }
    auto weights = adapter::LoadAdapter(path, config_);
    if (!weights) {
      if (first_failure) {
        first_failure = tl::unexpected(weights.error());
      }
      continue;
    }
    const std::lock_guard lock(mutex_);
    if (NameOf(path) != base_) {
      adapters_[NameOf(path)] = {std::move(*weights), path, changed};
    }
  }
  const std::lock_guard lock(mutex_);
  std::erase_if(adapters_, [&](const auto& entry) {
    return entry.second.path.parent_path() == folder && !present.contains(entry.second.path);
  });
  return first_failure;
}

Status AdapterRegistry::Load(const std::string& name, const fs::path& path) {
  const fs::file_time_type changed = ChangeTime(path);
  ETCH_ASSIGN_OR_RETURN(auto weights, adapter::LoadAdapter(path, config_));
  const std::lock_guard lock(mutex_);
  if (name == base_ || !adapters_.emplace(name, Entry{std::move(weights), path, changed}).second) {
    return Fail(ErrorCode::kInvalidArgument, "{}: a model named \"{}\" is loaded already",
                path.string(), name);
  }
  return {};
}

Status AdapterRegistry::Unload(const std::string& name) {
  const std::lock_guard lock(mutex_);
  if (adapters_.erase(name) == 0) {
    return Fail(ErrorCode::kNotFound, "no adapter named \"{}\" is loaded", name);
  }
  return {};
}

std::shared_ptr<const engine::AdapterWeights> AdapterRegistry::Find(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  const auto found = adapters_.find(name);
  return found == adapters_.end() ? nullptr : found->second.weights;
}

std::vector<std::string> AdapterRegistry::Names() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> names;
  for (const auto& [name, entry] : adapters_) {
    names.push_back(name);
  }
  return names;
}

}  // namespace etch::serve
