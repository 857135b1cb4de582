// An entry is a name and a path; a Residency is its weights in memory with their share of the
// budget. The registry holds one reference to a Residency, each request that claimed it another,
// and the loader one while it works: who finds a count of one under the lock knows that nobody can
// have it but through this registry, and may give it up. So the budget is right also for adapters
// that were removed while requests ran them.
//
// Locks: the budget is never called with mutex_ held, because it calls back here and into the
// scheduler; weights are freed without it too, because that takes milliseconds.

#include "serve/registry.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "adapter/adapter.h"
#include "base/memory.h"

namespace etch::serve {
namespace {

constexpr std::chrono::minutes kWorkingSet{1};
// The memory of an evicted adapter waits for the next one, which is then loaded without asking the
// system for pages. More than this is given back.
constexpr int64_t kMaxSlackBytes = int64_t{64} << 20;

int64_t UnixNow() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

// The adapters of a folder by path, sorted.
Result<std::vector<std::filesystem::path>> AdaptersIn(const std::filesystem::path& folder) {
  std::error_code error;
  std::error_code ignored;
  std::vector<std::filesystem::path> paths;
  for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    if (entry->path().filename().string().starts_with('.')) {
      continue;  // hidden, or on its way in or out (serve/adapter_files.h)
    }
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
  return paths;
}

std::string NameOf(const std::filesystem::path& path) {
  std::error_code ignored;
  const bool has_extension =
      path.extension() == ".gguf" && !std::filesystem::is_directory(path, ignored);
  return (has_extension ? path.stem() : path.filename()).string();
}

// For those who may not see where the adapters lie: `error` without their folder.
Error WithoutFolder(Error error, const std::filesystem::path& path) {
  const std::string folder = path.parent_path().string() + "/";
  for (size_t at = error.message.find(folder); at != std::string::npos && folder.size() > 1;
       at = error.message.find(folder, at)) {
    error.message.erase(at, folder.size());
  }
  return error;
}

// Of the latest of an adapter's files.
std::filesystem::file_time_type ChangeTime(const std::filesystem::path& path) {
  std::error_code ignored;
  std::filesystem::file_time_type latest = std::filesystem::last_write_time(path, ignored);
  for (std::filesystem::directory_iterator entry(path, ignored), end; !ignored && entry != end;
       entry.increment(ignored)) {
    latest = std::max(latest, entry->last_write_time(ignored));
  }
  return latest;
}

}  // namespace

struct AdapterRegistry::Residency : engine::AdapterClaim {
  engine::Budget::Reservation reservation;  // given back after the weights
  mutable std::mutex mutex;
  std::optional<Result<std::shared_ptr<const engine::AdapterWeights>>> outcome;

  Result<const engine::AdapterWeights*> Weights() const override {
    const std::lock_guard lock(mutex);
    if (!outcome) {
      return nullptr;
    }
    if (!*outcome) {
      return tl::unexpected(outcome->error());
    }
    return (*outcome)->get();
  }
  bool is_done() const {
    const std::lock_guard lock(mutex);
    return outcome.has_value();
  }
};

struct AdapterRegistry::Entry {
  std::string name;
  std::filesystem::path path;
  std::filesystem::file_time_type changed;
  bool inspected = false;
  int64_t rank = 0;
  int64_t size_bytes = 0;
  bool pinned = false;
  bool is_known = true;  // false: removed, but requests that named it before may claim it still
  std::shared_ptr<Residency> residency;  // null: not in memory; shared with claims
  Clock::time_point used = Clock::time_point::min();
  int64_t used_unix_s = 0;

  bool is_idle() const { return !pinned && residency.use_count() == 1; }
};

class AdapterRegistry::Source : public engine::AdapterSource {
 public:
  Source(AdapterRegistry& registry, std::shared_ptr<Entry> entry)
      : registry_(registry), entry_(std::move(entry)) {}
  int64_t size_bytes() const override {
    const std::lock_guard lock(registry_.mutex_);
    return entry_->pinned ? 0 : entry_->size_bytes;
  }
  std::shared_ptr<const engine::AdapterClaim> Claim() override { return registry_.Claim(entry_); }

 private:
  AdapterRegistry& registry_;
  const std::shared_ptr<Entry> entry_;  // shared: the name may be removed while requests wait
};

AdapterRegistry::AdapterRegistry(const model::Config& config, std::string base,
                                 engine::Budget& budget, RegistryOptions options)
    : config_(config), base_(std::move(base)), budget_(budget), options_(std::move(options)) {
  budget_.Add(this);
  loader_ = std::thread([this] { RunLoader(); });
}

AdapterRegistry::~AdapterRegistry() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  loader_.join();
  budget_.Remove(this);
}

Status AdapterRegistry::AddFolder(const std::filesystem::path& folder) {
  ETCH_ASSIGN_OR_RETURN(const std::vector<std::filesystem::path> paths, AdaptersIn(folder));
  for (const std::filesystem::path& path : paths) {
    auto entry = std::make_shared<Entry>();
    entry->name = NameOf(path);
    entry->path = path;
    entry->changed = ChangeTime(path);
    ETCH_ASSIGN_OR_RETURN(entry->rank, adapter::GlanceAtAdapter(path));
    const std::lock_guard lock(mutex_);
    if (entry->name == base_ || !entries_.emplace(entry->name, entry).second) {
      return Fail(ErrorCode::kInvalidArgument, "{}: a model named \"{}\" is there already",
                  path.string(), entry->name);
    }
  }
  return {};
}

Status AdapterRegistry::ReloadFolder(const std::filesystem::path& folder) {
  ETCH_ASSIGN_OR_RETURN(std::vector<std::filesystem::path> paths, AdaptersIn(folder));
  Status first_failure;
  const auto note = [&](const Status& status) {
    if (!status && first_failure) {
      first_failure = status;
    }
  };
  for (const std::filesystem::path& path : paths) {
    note(Renew(path));
  }
  // What was put there meanwhile is not gone.
  const auto held = HoldFolder();
  ETCH_ASSIGN_OR_RETURN(paths, AdaptersIn(folder));
  std::vector<std::string> gone;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [name, entry] : entries_) {
      const bool is_there = std::ranges::find(paths, entry->path) != paths.end();
      if (entry->path.parent_path() == folder && !is_there) {
        gone.push_back(name);
      }
    }
  }
  for (const std::string& name : gone) {
    if (const Status status = Remove(name);
        !status && status.error().code != ErrorCode::kNotFound) {  // else it was unloaded just now
      note(status);
    }
  }
  return first_failure;
}

Status AdapterRegistry::Renew(const std::filesystem::path& path) {
  constexpr int kTries = 3;  // of an adapter that is changed while it is read
  for (int left = kTries - 1;; --left) {
    auto entry = std::make_shared<Entry>();
    entry->name = NameOf(path);
    entry->path = path;
    entry->changed = ChangeTime(path);
    if (entry->name == base_ || IsAsRead(*entry)) {
      return {};
    }
    // All checks, those of values too: what does not load must not take the place of what does. The
    // folder is not held for it: it takes long.
    Status status;
    if (const auto weights = adapter::LoadAdapter(path, config_); !weights) {
      status = tl::unexpected(weights.error());
    } else {
      status = Inspect(*entry);
    }
    const auto held = HoldFolder();
    std::error_code ignored;
    if (!std::filesystem::exists(path, ignored) || IsAsRead(*entry)) {
      return {};  // removed or uploaded meanwhile
    }
    if (left > 0 && ChangeTime(path) != entry->changed) {
      continue;
    }
    ETCH_TRY(status);
    return Put(entry) ? Pin(entry->name, true) : Status();
  }
}

bool AdapterRegistry::IsAsRead(const Entry& entry) const {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(entry.name);
  return found != entries_.end() && found->second->path == entry.path &&
         found->second->changed == entry.changed;
}

bool AdapterRegistry::Put(const std::shared_ptr<Entry>& entry) {
  std::shared_ptr<Residency> dropped;
  bool was_pinned = false;
  {
    const std::lock_guard lock(mutex_);
    const std::shared_ptr<Entry> former = std::exchange(entries_[entry->name], entry);
    if (former == nullptr) {
      return false;
    }
    was_pinned = former->pinned;
    dropped = Forget(former);
  }
  dropped.reset();
  ReturnFreeMemory();
  return was_pinned;
}

std::shared_ptr<AdapterRegistry::Residency> AdapterRegistry::Forget(
    const std::shared_ptr<Entry>& entry) {
  entry->is_known = false;
  std::erase(resident_, entry);
  return std::exchange(entry->residency, nullptr);
}

void AdapterRegistry::DropUnknown() {
  std::vector<std::shared_ptr<Residency>> dropped;  // freed without the lock
  const std::lock_guard lock(mutex_);
  std::erase_if(resident_, [&](const auto& entry) {
    const bool is_unknown = !entry->is_known && entry->residency.use_count() == 1;
    if (is_unknown) {
      dropped.push_back(std::exchange(entry->residency, nullptr));
    }
    return is_unknown;
  });
}

Status AdapterRegistry::Add(const std::string& name, const std::filesystem::path& path) {
  auto entry = std::make_shared<Entry>();
  entry->name = name;
  entry->path = path;
  entry->changed = ChangeTime(path);
  ETCH_TRY(Inspect(*entry));
  const std::lock_guard lock(mutex_);
  if (name == base_ || !entries_.emplace(name, entry).second) {
    return Fail(ErrorCode::kInvalidArgument, "{}: a model named \"{}\" is there already",
                path.string(), name);
  }
  return {};
}

Status AdapterRegistry::Replace(const std::string& name, const std::filesystem::path& path) {
  if (name == base_) {
    return Add(name, path);  // which says why not
  }
  auto entry = std::make_shared<Entry>();
  entry->name = name;
  entry->path = path;
  entry->changed = ChangeTime(path);
  ETCH_TRY(adapter::LoadAdapter(path, config_));
  ETCH_TRY(Inspect(*entry));
  return Put(entry) ? Pin(name, true) : Status();
}

Status AdapterRegistry::Remove(const std::string& name) {
  std::shared_ptr<Residency> dropped;
  {
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find(name);
    if (found == entries_.end()) {
      return Fail(ErrorCode::kNotFound, "no adapter named \"{}\"", name);
    }
    dropped = Forget(found->second);
    entries_.erase(found);
  }
  dropped.reset();
  ReturnFreeMemory();
  return {};
}

Status AdapterRegistry::Load(const std::string& name) {
  ETCH_ASSIGN_OR_RETURN(const std::shared_ptr<Entry> entry, EntryOf(name));
  ETCH_TRY(Inspect(*entry));
  const std::shared_ptr<const Residency> claim = Claim(entry);
  if (claim == nullptr) {
    return Fail(ErrorCode::kNoSpace, "adapter \"{}\" takes {} bytes; the budget of {} has no room",
                name, entry->size_bytes, budget_.limit_bytes());
  }
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return stopping_ || claim->is_done(); });
  lock.unlock();
  const auto weights = claim->Weights();
  return weights ? Status() : tl::unexpected(weights.error());
}

Status AdapterRegistry::Unload(const std::string& name) {
  ETCH_ASSIGN_OR_RETURN(const std::shared_ptr<Entry> entry, EntryOf(name));
  std::shared_ptr<Residency> dropped;
  {
    const std::lock_guard lock(mutex_);
    if (entry->residency.use_count() > 1) {
      return Fail(ErrorCode::kUnavailable, "adapter \"{}\" is in use; try again later", name);
    }
    if (entry->pinned) {
      return Fail(ErrorCode::kInvalidArgument, "adapter \"{}\" is pinned", name);
    }
    dropped = std::exchange(entry->residency, nullptr);
    std::erase(resident_, entry);
  }
  dropped.reset();
  ReturnFreeMemory();
  return {};
}

Status AdapterRegistry::Pin(const std::string& name, bool pinned) {
  ETCH_ASSIGN_OR_RETURN(const std::shared_ptr<Entry> entry, EntryOf(name));
  std::shared_ptr<const Residency> claim;
  if (pinned) {
    ETCH_TRY(Inspect(*entry));
    claim = Claim(entry);  // stays claimed until the pin holds it
    ETCH_TRY(Load(name));
  }
  using Use = engine::Budget::Use;
  std::shared_ptr<Residency> residency;
  {
    const std::lock_guard lock(mutex_);
    entry->pinned = pinned;
    residency = entry->residency;
  }
  if (residency != nullptr) {
    residency->reservation.SetUse(pinned ? Use::kPinnedAdapter : Use::kAdapter);
  }
  residency.reset();
  budget_.Notify();
  return {};
}

Result<std::shared_ptr<engine::AdapterSource>> AdapterRegistry::Find(const std::string& name) {
  ETCH_ASSIGN_OR_RETURN(std::shared_ptr<Entry> entry, EntryOf(name));
  if (const Status fits = Inspect(*entry); !fits) {
    return tl::unexpected(WithoutFolder(fits.error(), entry->path));
  }
  return std::make_shared<Source>(*this, std::move(entry));
}

Result<std::shared_ptr<AdapterRegistry::Entry>> AdapterRegistry::EntryOf(
    const std::string& name) const {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(name);
  if (found == entries_.end()) {
    return Fail(ErrorCode::kNotFound, "no model named \"{}\"; GET /v1/models lists them", name);
  }
  return found->second;
}

Status AdapterRegistry::Inspect(Entry& entry) {
  {
    const std::lock_guard lock(mutex_);
    if (entry.inspected) {
      return {};
    }
  }
  ETCH_ASSIGN_OR_RETURN(const adapter::AdapterSummary summary,
                        adapter::InspectAdapter(entry.path, config_));
  const std::lock_guard lock(mutex_);
  entry.inspected = true;
  entry.rank = summary.rank;
  entry.size_bytes = summary.size_bytes;
  return {};
}

std::shared_ptr<const AdapterRegistry::Residency> AdapterRegistry::Claim(
    const std::shared_ptr<Entry>& shared) {
  DropUnknown();
  Entry& entry = *shared;
  int64_t size_bytes = 0;
  const auto touch = [&entry] {
    entry.used = Clock::now();
    entry.used_unix_s = UnixNow();
  };
  {
    const std::lock_guard lock(mutex_);
    if (entry.residency != nullptr) {
      touch();
      ++counts_.hits;
      return entry.residency;
    }
    size_bytes = entry.size_bytes;
  }
  auto reservation = budget_.Reserve(size_bytes, engine::Budget::Use::kAdapter);
  if (!reservation) {
    return nullptr;
  }
  const std::lock_guard lock(mutex_);
  touch();
  if (entry.residency == nullptr) {  // else another caller was first, and this share goes back
    entry.residency = std::make_shared<Residency>();
    entry.residency->reservation = std::move(*reservation);
    resident_.push_back(shared);
    jobs_.push_back({shared, entry.residency});
    slack_bytes_ = std::max<int64_t>(0, slack_bytes_ - size_bytes);
    changed_.notify_all();
  }
  return entry.residency;
}

AdapterState AdapterRegistry::StateOf(const Entry& entry) const {
  AdapterState state;
  state.name = entry.name;
  state.rank = entry.rank;
  state.size_bytes = entry.size_bytes;
  state.resident = entry.residency != nullptr && entry.residency->is_done();
  state.loading = entry.residency != nullptr && !state.resident;
  state.pinned = entry.pinned;
  state.last_used = entry.used_unix_s;
  return state;
}

std::vector<AdapterState> AdapterRegistry::States() const {
  const std::lock_guard lock(mutex_);
  std::vector<AdapterState> states;
  for (const auto& [name, entry] : entries_) {
    states.push_back(StateOf(*entry));
  }
  return states;
}

std::optional<AdapterState> AdapterRegistry::State(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(name);
  return found == entries_.end() ? std::nullopt : std::optional(StateOf(*found->second));
}

std::filesystem::path AdapterRegistry::PathOf(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(name);
  return found == entries_.end() ? std::filesystem::path() : found->second->path;
}

std::vector<std::string> AdapterRegistry::NamesOf(const std::filesystem::path& path) const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> names;
  for (const auto& [name, entry] : entries_) {
    if (entry->path == path) {
      names.push_back(name);
    }
  }
  return names;
}

std::vector<std::string> AdapterRegistry::Names() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> names;
  for (const auto& [name, entry] : entries_) {
    names.push_back(name);
  }
  return names;
}

AdapterCounts AdapterRegistry::counts() const {
  const std::lock_guard lock(mutex_);
  AdapterCounts counts = counts_;
  counts.known = std::ssize(entries_);
  for (const auto& entry : resident_) {
    counts.resident += entry->residency->is_done() ? 1 : 0;
    counts.pinned += entry->pinned ? 1 : 0;
  }
  return counts;
}

AdapterRegistry::Entry* AdapterRegistry::OldestIdle() const {
  Entry* oldest = nullptr;
  for (const auto& entry : resident_) {
    if (entry->is_idle() && (oldest == nullptr || entry->used < oldest->used)) {
      oldest = entry.get();
    }
  }
  return oldest;
}

std::optional<engine::Reclaimable::Clock::time_point> AdapterRegistry::OldestUse() const {
  const std::lock_guard lock(mutex_);
  const Entry* oldest = OldestIdle();
  return oldest == nullptr ? std::nullopt : std::optional(oldest->used);
}

int64_t AdapterRegistry::idle_bytes() const {
  const std::lock_guard lock(mutex_);
  int64_t bytes = 0;
  for (const auto& entry : resident_) {
    bytes += entry->is_idle() ? entry->residency->reservation.bytes() : 0;
  }
  return bytes;
}

bool AdapterRegistry::ReclaimOldest() {
  std::shared_ptr<Residency> dropped;
  std::string warning;
  bool trim = false;
  {
    const std::lock_guard lock(mutex_);
    Entry* oldest = OldestIdle();
    if (oldest == nullptr) {
      return false;
    }
    ++counts_.evictions;
    NoteEviction(*oldest, warning);
    slack_bytes_ += oldest->size_bytes;
    trim = slack_bytes_ > kMaxSlackBytes;
    slack_bytes_ = trim ? 0 : slack_bytes_;
    dropped = std::exchange(oldest->residency, nullptr);
    std::erase_if(resident_, [&](const auto& entry) { return entry.get() == oldest; });
  }
  dropped.reset();
  if (trim) {
    ReturnFreeMemory();
  }
  if (!warning.empty()) {
    options_.warn(warning);
  }
  return true;
}

void AdapterRegistry::NoteEviction(const Entry& entry, std::string& warning) {
  const Clock::time_point now = Clock::now();
  if (now - entry.used > kWorkingSet) {
    return;
  }
  ++busy_evictions_;
  if (options_.warn && (!last_warning_ || now - *last_warning_ > kWorkingSet)) {
    last_warning_ = now;
    warning = fmt::format(
        "the adapters in use exceed the budget: \"{}\" is evicted {} s after its last use ({} such "
        "since the last warning); {} adapters are in memory",
        entry.name, std::chrono::duration_cast<std::chrono::seconds>(now - entry.used).count(),
        busy_evictions_, resident_.size() - 1);
    busy_evictions_ = 0;
  }
}

void AdapterRegistry::RunLoader() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
    if (stopping_) {
      return;
    }
    const std::shared_ptr<Entry> entry = std::move(jobs_.front().entry);
    std::shared_ptr<Residency> residency = std::move(jobs_.front().residency);
    jobs_.pop_front();
    const std::filesystem::path path = entry->path;
    const int64_t reserved = residency->reservation.bytes();
    lock.unlock();
    const Clock::time_point begin = Clock::now();
    auto weights =
        adapter::LoadAdapter(path, config_, {options_.keep_floats, options_.load_threads});
    if (weights && static_cast<int64_t>((*weights)->size_bytes) != reserved) {
      weights = Fail(ErrorCode::kMismatch, "{}: changed since it was last looked at; try again",
                     path.string());
    }
    if (!weights) {
      weights = tl::unexpected(WithoutFolder(weights.error(), path));
    }
    const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    lock.lock();
    if (weights) {
      ++counts_.loads;
      counts_.loaded_bytes += reserved;
      counts_.load_seconds += seconds;
      counts_.longest_load_s = std::max(counts_.longest_load_s, seconds);
    } else if (entry->residency == residency) {  // the next request tries again
      entry->residency = nullptr;
      entry->inspected = false;
      std::erase(resident_, entry);
    }
    {
      const std::lock_guard outcome_lock(residency->mutex);
      residency->outcome = std::move(weights);
    }
    // Let go of before anybody hears of it: it may be unloaded at once, and what failed or was
    // removed takes nothing of the budget any more. The latter is freed here, without the lock.
    if (entry->residency != residency) {
      lock.unlock();
      residency.reset();
      lock.lock();
    }
    residency.reset();
    changed_.notify_all();
    lock.unlock();
    budget_.Notify();
    lock.lock();
  }
}

}  // namespace etch::serve
