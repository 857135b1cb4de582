#pragma once

// Prometheus metrics: under the names of vLLM what inference gateways read, under `etch:` what
// tenants and adapters do. Thread-safe.

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "engine/scheduler.h"
#include "serve/registry.h"

namespace etch::serve {

// What is true at the moment of a scrape; the rest is counted here.
struct Gauges {
  engine::SchedulerStatus scheduler;
  int64_t max_running = 0;
  // Share of the memory for contexts that is taken. Left out when nobody knows it.
  std::optional<double> kv_cache_usage;
  AdapterCounts adapters;
  int64_t connections = 0;
  int64_t budget_bytes = 0;                                 // of adapters and contexts; 0: no limit
  std::vector<std::pair<std::string, int64_t>> used_bytes;  // of it, by what for
  int64_t unix_time = 0;
};

// Cumulative buckets as Prometheus wants them.
class Histogram {
 public:
  explicit Histogram(std::vector<double> bounds)
      : bounds_(std::move(bounds)), counts_(bounds_.size() + 1) {}
  void Observe(double value);
  // Appends the lines of `name`; `labels` is `model_name="x"`.
  void Write(const std::string& name, const std::string& labels, std::string& out) const;

 private:
  std::vector<double> bounds_;
  std::vector<int64_t> counts_;  // by bucket, the last one without bound
  double sum_ = 0.0;
};

// What is counted when a request ends.
struct RequestCounts {
  std::string tenant;   // "": none
  std::string adapter;  // "": the base
  int64_t prompt_tokens = 0;
  int64_t completion_tokens = 0;
  double seconds = 0.0;
};

class Metrics {
 public:
  explicit Metrics(std::string model_name) : model_name_(std::move(model_name)) {}

  // A request that names an adapter, from its submission to its end: it waits until Start().
  class Presence {
   public:
    Presence(Metrics& metrics, std::string adapter);
    ~Presence();
    Presence(const Presence&) = delete;
    Presence& operator=(const Presence&) = delete;
    void Start();

   private:
    Metrics& metrics_;
    const std::string adapter_;
    bool running_ = false;  // guarded by the metrics' mutex
  };

  void FirstToken(double seconds, int64_t prompt_tokens);
  void CountPrompt(int64_t prompt_tokens);  // of what is read without an answer
  void NextTokens(double seconds_between);
  void CountTokens(int64_t tokens);
  void Finished(const std::string& reason);  // of one choice: "stop", "length", "abort"
  void Ended(const RequestCounts& counts);
  // A request that was turned away; `reason` is one of a fixed set.
  void Rejected(const std::string& tenant, const std::string& reason);

  // Adapters that run at this moment, in the form that gateways split at commas.
  std::string RunningAdapters() const;
  // The text of a scrape, version 0.0.4 of the format.
  std::string Text(const Gauges& gauges) const;

 private:
  struct Series {
    int64_t requests = 0;
    int64_t prompt_tokens = 0;
    int64_t completion_tokens = 0;
  };
  using Names = std::pair<std::string, std::string>;  // tenant and adapter, or tenant and reason

  // The key to count under: at most kMaxSeries different ones, then "other".
  template <class Value>
  static Names Bounded(const std::map<Names, Value>& series, Names names);
  static std::string Active(const std::map<std::string, int64_t>& adapters);
  void WriteLatencies(std::string& out) const;
  void WriteAdapters(const Gauges& gauges, std::string& out) const;
  void WriteTenants(std::string& out) const;

  const std::string model_name_;
  mutable std::mutex mutex_;
  std::map<std::string, int64_t> waiting_;  // requests by adapter
  std::map<std::string, int64_t> running_;
  Histogram first_token_{{0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1,  0.25,  0.5,   0.75,
                          1.0,   2.5,   5.0,  7.5,  10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0}};
  Histogram between_tokens_{{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1,
                             0.15,  0.2,    0.3,   0.4,  0.5,   0.75, 1.0,   2.5,
                             5.0,   7.5,    10.0,  20.0, 40.0,  80.0}};
  Histogram whole_request_{{0.3,  0.5,  0.8,  1.0,  1.5,   2.0,   2.5,   5.0,   10.0,   15.0,  20.0,
                            30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0}};
  int64_t prompt_tokens_ = 0;
  int64_t generation_tokens_ = 0;
  std::map<std::string, int64_t> finished_;
  std::map<Names, Series> by_tenant_;
  std::map<Names, int64_t> rejected_;
};

inline constexpr size_t kMaxSeries = 2048;

}  // namespace etch::serve
