#pragma once

// The adapters that requests may name. All of a folder are known from the start; their weights come
// into memory when a request needs them, on a thread of the registry, and go when the budget needs
// the room: the least recently used first, never one that is pinned or that a request holds. A
// request keeps what it took, whatever is loaded and unloaded meanwhile.

#include <condition_variable>
#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "engine/adapter_source.h"
#include "engine/budget.h"
#include "model/config.h"

namespace etch::serve {

// One adapter as it stands now.
struct AdapterState {
  std::string name;
  int64_t rank = 0;        // the largest of its layers; 0: not known before its first use
  int64_t size_bytes = 0;  // of the budget, when resident; 0: not known before its first use
  bool resident = false;   // its weights are in memory
  bool loading = false;
  bool pinned = false;
  int64_t last_used = 0;  // Unix seconds; 0: never
};

struct AdapterCounts {
  int64_t known = 0;
  int64_t resident = 0;
  int64_t pinned = 0;
  int64_t hits = 0;          // requests that found their adapter in memory or on its way
  int64_t loads = 0;         // that succeeded
  int64_t loaded_bytes = 0;  // of the budget, by all loads
  int64_t evictions = 0;     // by the budget
  double load_seconds = 0.0;
  double longest_load_s = 0.0;
};

struct RegistryOptions {
  bool keep_floats = false;  // for the float backend
  int load_threads = 0;      // of one load; 0: one for each processor
  // Hears one line when adapters of the last minute are evicted: the budget is too small for what
  // is asked for. At most once a minute, by any thread. May be empty.
  std::function<void(const std::string&)> warn;
};

class AdapterRegistry : public engine::Reclaimable {
 public:
  // `config` is the base's; `base` is its id, which no adapter may take. `config` and `budget` must
  // outlive the registry, and it every claim.
  AdapterRegistry(const model::Config& config, std::string base, engine::Budget& budget,
                  RegistryOptions options);
  ~AdapterRegistry() override;
  AdapterRegistry(const AdapterRegistry&) = delete;
  AdapterRegistry& operator=(const AdapterRegistry&) = delete;

  // Makes every PEFT directory and .gguf in `folder` known. Fails at the first that cannot be one,
  // naming it (adapter::GlanceAtAdapter); whether its shapes fit shows at its first use.
  Status AddFolder(const std::filesystem::path& folder);
  // Brings what is known to what `folder` holds now: adds what is new or has changed since it was
  // read, forgets what is gone. An adapter that does not fit stays as it was; the error names it,
  // and the others are read nevertheless.
  Status ReloadFolder(const std::filesystem::path& folder);
  // Makes one adapter known under `name`, after all checks but those of values. kInvalidArgument
  // when the name is taken.
  Status Add(const std::string& name, const std::filesystem::path& path);
  // Add after a check of values too, in the place of one that may have the name already. What runs
  // goes on with the former.
  Status Replace(const std::string& name, const std::filesystem::path& path);
  // While it is held nobody else changes the folder and what is known of it together: who puts
  // files there or removes them does so, and Add or Remove, with it. Held for short.
  [[nodiscard]] std::unique_lock<std::mutex> HoldFolder() {
    return std::unique_lock(folder_mutex_);
  }
  // Forgets it. Its memory is given back at once, or when the last request that holds it ends.
  // kNotFound when there is none.
  Status Remove(const std::string& name);

  // Brings the weights into memory and returns when they are there. kNoSpace when the budget has no
  // room; otherwise as adapter::LoadAdapter.
  Status Load(const std::string& name);
  // Gives the weights back and keeps the name. kUnavailable when a request holds them.
  Status Unload(const std::string& name);
  // A pinned adapter is loaded (as Load) and stays.
  Status Pin(const std::string& name, bool pinned);

  // What a request names; checks the adapter's shapes when that was not done yet. kNotFound when
  // there is none of that name. Thread-safe, as is everything here.
  Result<std::shared_ptr<engine::AdapterSource>> Find(const std::string& name);

  std::vector<AdapterState> States() const;  // sorted by name
  std::optional<AdapterState> State(const std::string& name) const;
  std::vector<std::string> Names() const;  // sorted
  // Where it was read from; empty when there is none of that name.
  std::filesystem::path PathOf(const std::string& name) const;
  // Every name that was read from `path`.
  std::vector<std::string> NamesOf(const std::filesystem::path& path) const;
  AdapterCounts counts() const;
  const std::string& base() const { return base_; }
  const engine::Budget& budget() const { return budget_; }

  std::optional<Clock::time_point> OldestUse() const override;
  int64_t idle_bytes() const override;
  bool ReclaimOldest() override;

 private:
  struct Residency;
  struct Entry;
  class Source;

  // A claim on the entry's weights, which are loaded if need be; null when there is no room.
  std::shared_ptr<const Residency> Claim(const std::shared_ptr<Entry>& shared);
  Status Inspect(Entry& entry);
  // Makes the adapter at `path` known if it is new or has changed.
  Status Renew(const std::filesystem::path& path);
  // Whether the entry of this name was read from this path as it is now.
  bool IsAsRead(const Entry& entry) const;
  // Makes the entry known, in the place of the one that has its name: no request finds none. True
  // when that was pinned.
  bool Put(const std::shared_ptr<Entry>& entry);
  // Under mutex_: what is left of an entry that stands in entries_ no more. Freed by the caller.
  std::shared_ptr<Residency> Forget(const std::shared_ptr<Entry>& entry);
  // Gives up the idle weights of entries that were removed before a request claimed them.
  void DropUnknown();
  Result<std::shared_ptr<Entry>> EntryOf(const std::string& name) const;
  AdapterState StateOf(const Entry& entry) const;
  // The resident entry that is idle and least recently used; null when there is none.
  Entry* OldestIdle() const;
  void NoteEviction(const Entry& entry, std::string& warning);
  void RunLoader();

  const model::Config& config_;
  const std::string base_;
  engine::Budget& budget_;
  const RegistryOptions options_;

  std::mutex folder_mutex_;  // taken before mutex_
  mutable std::mutex mutex_;
  // Shared with the requests that name them.
  std::map<std::string, std::shared_ptr<Entry>> entries_;
  std::vector<std::shared_ptr<Entry>> resident_;  // with those that are being loaded
  AdapterCounts counts_;
  int64_t slack_bytes_ = 0;     // evicted, not loaded again and not given back to the system
  int64_t busy_evictions_ = 0;  // of adapters of the last minute, since the last warning
  std::optional<Clock::time_point> last_warning_;

  std::condition_variable changed_;  // of jobs_, and when a load ends
  // What is to be loaded, for whom: an entry may be removed while a request waits for its weights.
  struct Job {
    std::shared_ptr<Entry> entry;
    std::shared_ptr<Residency> residency;
  };
  std::deque<Job> jobs_;
  bool stopping_ = false;
  std::thread loader_;
};

}  // namespace etch::serve
