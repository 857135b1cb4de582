#pragma once

// The adapters that requests may name. Loading and unloading happen while requests run: a request
// keeps what it took.

#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "engine/adapter_weights.h"
#include "model/config.h"

namespace etch::serve {

class AdapterRegistry {
 public:
  // `config` is the base's and must outlive the registry; `base` is its id, which no adapter may
  // take.
  AdapterRegistry(const model::Config& config, std::string base);

  // Loads every PEFT directory and .gguf in `folder`. Fails at the first that does not fit, naming
  // it.
  Status LoadFolder(const std::filesystem::path& folder);
  // Brings what is loaded to what `folder` holds now: loads what is new or has changed since it was
  // read, drops what is gone. An adapter that does not fit stays as it was; the error names it, and
  // the others are read nevertheless.
  Status ReloadFolder(const std::filesystem::path& folder);
  // Loads one adapter under `name`. kInvalidArgument when the name is taken.
  Status Load(const std::string& name, const std::filesystem::path& path);
  // kNotFound when there is none.
  Status Unload(const std::string& name);

  // Null when there is none of that name.
  std::shared_ptr<const engine::AdapterWeights> Find(const std::string& name) const;
  std::vector<std::string> Names() const;  // sorted
  const std::string& base() const { return base_; }

 private:
  struct Entry {
    std::shared_ptr<const engine::AdapterWeights> weights;
    std::filesystem::path path;
    std::filesystem::file_time_type changed;  // of the latest of its files
  };

  const model::Config& config_;
  const std::string base_;
  mutable std::mutex mutex_;
  std::map<std::string, Entry> adapters_;
};

}  // namespace etch::serve
