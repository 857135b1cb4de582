#pragma once

// Contexts of requests that have ended, for requests to come that begin with the same tokens under
// the same adapters. A context is only ever seen under the salt that it was made under: tenants
// neither share nor time each other's.

#include <array>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engine/budget.h"
#include "engine/engine.h"

namespace etch::engine {

// What must be equal besides the tokens.
struct PrefixKey {
  // Of each adapter: AdapterWeights::identity and its weight. Not its name: an adapter that was
  // evicted and loaded again is the same, one that was replaced under its name is not.
  std::vector<std::array<uint64_t, 3>> adapters;
  std::string salt;

  bool operator==(const PrefixKey&) const = default;
};

// False when the adapters have no identity: then nothing of theirs can be kept.
bool MakePrefixKey(std::span<const ActiveAdapter> adapters, const std::string& salt,
                   PrefixKey& key);

struct PrefixCacheStatus {
  int64_t entries = 0;
  int64_t size_bytes = 0;
  int64_t lookups = 0;
  int64_t hits = 0;
  int64_t hit_tokens = 0;
};

class PrefixCache : public Reclaimable {
 public:
  // Shorter prefixes are not worth a copy.
  static constexpr int64_t kMinTokens = 16;

  // At most `max_bytes` are kept; 0: nothing. `engine` and `budget` must outlive the cache.
  PrefixCache(const Engine& engine, Budget& budget, int64_t max_bytes);
  ~PrefixCache() override;
  PrefixCache(const PrefixCache&) = delete;
  PrefixCache& operator=(const PrefixCache&) = delete;

  // A kept context and how many of its first tokens are also the first of `prompt`, but not all of
  // it: at least one token must be read to have logits. `session` is null when there is none of
  // kMinTokens or more. Marks what it finds as used.
  struct Match {
    std::shared_ptr<const Session> session;
    int64_t tokens = 0;
  };
  Match Find(const PrefixKey& key, std::span<const TokenId> prompt);
  // Counts one lookup, and a hit of `tokens` when not 0.
  void Count(int64_t tokens);

  // Keeps a copy of the session's context, which was made of the first position() of `tokens`, and
  // as much of `reservation` (the session's own) as the copy takes. What is a prefix of it goes.
  // Keeping less than was hoped for is no error.
  void Keep(const PrefixKey& key, const Session& session, std::span<const TokenId> tokens,
            Budget::Reservation reservation);

  std::optional<Clock::time_point> OldestUse() const override;
  int64_t idle_bytes() const override;
  bool ReclaimOldest() override;

  PrefixCacheStatus status() const;

 private:
  struct Entry {
    PrefixKey key;
    std::vector<TokenId> tokens;
    // Shared with who copies from it while it is reclaimed.
    std::shared_ptr<const Session> session;
    Budget::Reservation reservation;
    Clock::time_point used;
  };

  const Engine& engine_;
  Budget& budget_;
  const int64_t max_bytes_;
  mutable std::mutex mutex_;
  std::list<Entry> entries_;  // the most recently used stands first
  PrefixCacheStatus status_;
};

}  // namespace etch::engine
