#include "serve/registry.h"

#include <algorithm>

#include "adapter/adapter.h"

namespace etch::serve {

AdapterRegistry::AdapterRegistry(const model::Config& config, std::string base)
    : config_(config), base_(std::move(base)) {}

Status AdapterRegistry::LoadFolder(const std::filesystem::path& folder) {
  std::error_code error;
  std::error_code ignored;
  std::vector<std::filesystem::path> paths;
  for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    const bool is_peft = std::filesystem::exists(entry->path() / "adapter_config.json", ignored);
    if (is_peft || entry->path().extension() == ".gguf") {
      paths.push_back(entry->path());
    }
  }
  if (error) {
    return Fail(ErrorCode::kNotFound, "{}: cannot read the folder of adapters: {}", folder.string(),
                error.message());
  }
  std::sort(paths.begin(), paths.end());
  for (const std::filesystem::path& path : paths) {
    const bool is_file = path.extension() == ".gguf";
    ETCH_TRY(Load((is_file ? path.stem() : path.filename()).string(), path));
  }
  return {};
}

Status AdapterRegistry::Load(const std::string& name, const std::filesystem::path& path) {
  ETCH_ASSIGN_OR_RETURN(auto weights, adapter::LoadAdapter(path, config_));
  const std::lock_guard lock(mutex_);
  if (name == base_ || !adapters_.emplace(name, std::move(weights)).second) {
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
  return found == adapters_.end() ? nullptr : found->second;
}

std::vector<std::string> AdapterRegistry::Names() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> names;
  for (const auto& [name, weights] : adapters_) {
    names.push_back(name);
  }
  return names;
}

}  // namespace etch::serve
