// "Exact" means: a request whose answer reached its client in whole is counted once. Each record is
// a row whose answer_id is unique (never twice), and the server sends the end of an answer only
// after `done` has said that the row is on the disk (never zero times). What a crash can leave
// behind is the other way round: a row of an answer whose last bytes did not get out.
//
// All records that wait become one transaction: with a slow disk more of them share one
// synchronisation, and the time that a single request waits stays that of about two.

#include "tenant/meter.h"

#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "tenant/calendar.h"
#include "tenant/store.h"

namespace etch::tenant {

struct Meter::State {
  State(Store store_in, OnMonth on_month_in)
      : store(std::move(store_in)), on_month(std::move(on_month_in)) {}

  void Run();
  void Write(const std::vector<UsageRecord>& records, const std::vector<Done>& dones);
  void ReportMonths(const std::vector<UsageRecord>& records);

  Store store;  // touched by the thread only
  const OnMonth on_month;
  std::thread thread;

  std::mutex mutex;
  std::condition_variable changed;
  bool stopping = false;
  std::vector<UsageRecord> records;
  std::vector<Done> dones;  // one a record
};

Result<std::unique_ptr<Meter>> Meter::Start(const std::filesystem::path& path, OnMonth on_month) {
  ETCH_ASSIGN_OR_RETURN(Store store, Store::Open(path));
  return std::unique_ptr<Meter>(
      new Meter(std::make_unique<State>(std::move(store), std::move(on_month))));
}

Meter::Meter(std::unique_ptr<State> state) : state_(std::move(state)) {
  state_->thread = std::thread([this] { state_->Run(); });
}

Meter::~Meter() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stopping = true;
  }
  state_->changed.notify_all();
  state_->thread.join();
}

void Meter::Record(UsageRecord record, Done done) {
  {
    const std::lock_guard lock(state_->mutex);
    state_->records.push_back(std::move(record));
    state_->dones.push_back(std::move(done));
  }
  state_->changed.notify_all();
}

void Meter::State::Run() {
  while (true) {
    std::vector<UsageRecord> taken;
    std::vector<Done> taken_dones;
    {
      std::unique_lock lock(mutex);
      changed.wait(lock, [this] { return stopping || !records.empty(); });
      if (records.empty()) {
        return;
      }
      taken.swap(records);
      taken_dones.swap(dones);
    }
    Write(taken, taken_dones);
  }
}

void Meter::State::Write(const std::vector<UsageRecord>& taken,
                         const std::vector<Done>& taken_dones) {
  const Status status = store.Record(taken);
  if (!status && taken.size() > 1) {
    // One bad record must not take the others with it.
    for (size_t index = 0; index < taken.size(); ++index) {
      Write({taken[index]}, {taken_dones[index]});
    }
    return;
  }
  if (status) {
    ReportMonths(taken);
  }
  for (const Done& done : taken_dones) {
    if (done) {
      done(status);
    }
  }
}

void Meter::State::ReportMonths(const std::vector<UsageRecord>& taken) {
  std::map<std::pair<int64_t, int64_t>, bool> touched;
  for (const UsageRecord& record : taken) {
    touched[{record.tenant_id, MonthOf(record.time)}] = true;
  }
  for (const auto& [key, unused] : touched) {
    const Result<int64_t> tokens = store.MonthTokens(key.first, key.second);
    if (tokens && on_month) {
      on_month(key.first, key.second, *tokens);
    }
  }
}

}  // namespace etch::tenant
