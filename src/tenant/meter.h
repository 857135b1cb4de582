#pragma once

// Writes usage on a thread of its own, so that no other thread waits for the disk.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>

#include "base/error.h"
#include "tenant/usage.h"

namespace etch::tenant {

class Meter {
 public:
  // The tokens of a month (202611) that a tenant has used, after each commit that added to them.
  using OnMonth = std::function<void(int64_t tenant_id, int64_t month, int64_t tokens)>;
  // Called once when the record is on the disk, or with the reason why it is not.
  using Done = std::function<void(const Status&)>;

  // Opens the store at `path`. `on_month` is called on the meter's thread, before `done`.
  static Result<std::unique_ptr<Meter>> Start(const std::filesystem::path& path, OnMonth on_month);
  // Writes what is queued, then ends.
  ~Meter();
  Meter(const Meter&) = delete;
  Meter& operator=(const Meter&) = delete;

  // Queues a record; never blocks. `done` (which may be empty) is called on the meter's thread.
  void Record(UsageRecord record, Done done);

 private:
  struct State;
  explicit Meter(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace etch::tenant
