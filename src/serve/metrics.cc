// The format is https://prometheus.io/docs/instrumenting/exposition_formats, text, version 0.0.4:
// a HELP and a TYPE line a metric, then its samples. One mutex guards everything: a count takes
// nanoseconds, a token of a large model milliseconds.

#include "serve/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace etch::serve {
namespace {

std::string Escaped(const std::string& value) {
  std::string out;
  for (const char character : value) {
    if (character == '\n') {
      out += "\\n";
    } else {
      out += character == '"' || character == '\\' ? std::string{'\\', character}
                                                   : std::string(1, character);
    }
  }
  return out;
}

std::string Label(const std::string& name, const std::string& value) {
  return fmt::format("{}=\"{}\"", name, Escaped(value));
}

void Head(const std::string& name, const char* type, const char* help, std::string& out) {
  fmt::format_to(std::back_inserter(out), "# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
}

template <class Number>
void Sample(const std::string& name, const std::string& labels, Number value, std::string& out) {
  fmt::format_to(std::back_inserter(out), "{}{{{}}} {}\n", name, labels, value);
}

}  // namespace

void Histogram::Observe(double value) {
  const auto bucket = std::ranges::lower_bound(bounds_, value) - bounds_.begin();
  ++counts_[static_cast<size_t>(bucket)];
  sum_ += value;
}

void Histogram::Write(const std::string& name, const std::string& labels, std::string& out) const {
  int64_t below = 0;
  for (size_t bucket = 0; bucket < counts_.size(); ++bucket) {
    below += counts_[bucket];
    const std::string bound =
        bucket < bounds_.size() ? fmt::format("{}", bounds_[bucket]) : std::string("+Inf");
    Sample(name + "_bucket", labels + "," + Label("le", bound), below, out);
  }
  Sample(name + "_sum", labels, sum_, out);
  Sample(name + "_count", labels, below, out);
}

Metrics::Presence::Presence(Metrics& metrics, std::string adapter)
    : metrics_(metrics), adapter_(std::move(adapter)) {
  const std::lock_guard lock(metrics_.mutex_);
  ++metrics_.waiting_[adapter_];
}

Metrics::Presence::~Presence() {
  const std::lock_guard lock(metrics_.mutex_);
  auto& where = running_ ? metrics_.running_ : metrics_.waiting_;
  if (--where[adapter_] == 0) {
    where.erase(adapter_);
  }
}

void Metrics::Presence::Start() {
  const std::lock_guard lock(metrics_.mutex_);
  if (running_) {
    return;
  }
  running_ = true;
  ++metrics_.running_[adapter_];
  if (--metrics_.waiting_[adapter_] == 0) {
    metrics_.waiting_.erase(adapter_);
  }
}

void Metrics::FirstToken(double seconds, int64_t prompt_tokens) {
  const std::lock_guard lock(mutex_);
  first_token_.Observe(seconds);
  prompt_tokens_ += prompt_tokens;
}

void Metrics::CountPrompt(int64_t prompt_tokens) {
  const std::lock_guard lock(mutex_);
  prompt_tokens_ += prompt_tokens;
}

void Metrics::NextTokens(double seconds_between) {
  const std::lock_guard lock(mutex_);
  between_tokens_.Observe(seconds_between);
}

void Metrics::CountTokens(int64_t tokens) {
  const std::lock_guard lock(mutex_);
  generation_tokens_ += tokens;
}

void Metrics::Finished(const std::string& reason) {
  const std::lock_guard lock(mutex_);
  ++finished_[reason];
}

template <class Value>
Metrics::Names Metrics::Bounded(const std::map<Names, Value>& series, Names names) {
  if (series.contains(names) || series.size() < kMaxSeries) {
    return names;
  }
  return {"other", "other"};
}

void Metrics::Ended(const RequestCounts& counts) {
  const std::lock_guard lock(mutex_);
  whole_request_.Observe(counts.seconds);
  Series& series = by_tenant_[Bounded(by_tenant_, {counts.tenant, counts.adapter})];
  ++series.requests;
  series.prompt_tokens += counts.prompt_tokens;
  series.completion_tokens += counts.completion_tokens;
}

void Metrics::Rejected(const std::string& tenant, const std::string& reason) {
  const std::lock_guard lock(mutex_);
  ++rejected_[Bounded(rejected_, {tenant, reason})];
}

// The names of adapters, in the form that gateways split at commas; the base is "".
std::string Metrics::Active(const std::map<std::string, int64_t>& adapters) {
  std::string names;
  for (const auto& [adapter, requests] : adapters) {
    if (!adapter.empty()) {
      names += (names.empty() ? "" : ",") + adapter;
    }
  }
  return names;
}

std::string Metrics::RunningAdapters() const {
  const std::lock_guard lock(mutex_);
  return Active(running_);
}

void Metrics::WriteLatencies(std::string& out) const {
  const std::string model = Label("model_name", model_name_);
  Head("vllm:time_to_first_token_seconds", "histogram",
       "From the arrival of a request to its first token.", out);
  first_token_.Write("vllm:time_to_first_token_seconds", model, out);
  for (const char* name :
       {"vllm:inter_token_latency_seconds", "vllm:time_per_output_token_seconds"}) {
    Head(name, "histogram", "Between one token of an answer and the next.", out);
    between_tokens_.Write(name, model, out);
  }
  Head("vllm:e2e_request_latency_seconds", "histogram",
       "From the arrival of a request to the end of its answer.", out);
  whole_request_.Write("vllm:e2e_request_latency_seconds", model, out);
  Head("vllm:prompt_tokens_total", "counter", "Tokens of prompts.", out);
  Sample("vllm:prompt_tokens_total", model, prompt_tokens_, out);
  Head("vllm:generation_tokens_total", "counter", "Tokens of answers.", out);
  Sample("vllm:generation_tokens_total", model, generation_tokens_, out);
  Head("vllm:request_success_total", "counter", "Answers by the reason of their end.", out);
  for (const auto& [reason, count] : finished_) {
    Sample("vllm:request_success_total", model + "," + Label("finished_reason", reason), count,
           out);
  }
}

void Metrics::WriteTenants(std::string& out) const {
  struct Column {
    const char* name;
    const char* help;
    int64_t Series::* value;
  };
  for (const Column& column :
       {Column{"etch:requests_total", "Requests that ended with an answer, or whose client left.",
               &Series::requests},
        Column{"etch:prompt_tokens_total", "Tokens of prompts.", &Series::prompt_tokens},
        Column{"etch:completion_tokens_total", "Tokens of answers.", &Series::completion_tokens}}) {
    Head(column.name, "counter", column.help, out);
    for (const auto& [names, series] : by_tenant_) {
      Sample(column.name, Label("tenant", names.first) + "," + Label("adapter", names.second),
             series.*column.value, out);
    }
  }
  Head("etch:rejected_total", "counter", "Requests that were turned away.", out);
  for (const auto& [names, count] : rejected_) {
    Sample("etch:rejected_total",
           Label("tenant", names.first) + "," + Label("reason", names.second), count, out);
  }
}

void Metrics::WriteAdapters(const Gauges& gauges, std::string& out) const {
  const std::string model = Label("model_name", model_name_);
  const AdapterCounts& counts = gauges.adapters;
  const auto write = [&](const char* name, const char* type, const char* help, auto value) {
    Head(name, type, help, out);
    Sample(name, model, value, out);
  };
  write("etch:adapters", "gauge", "Adapters that requests may name.", counts.known);
  write("etch:adapters_resident", "gauge", "Adapters in memory.", counts.resident);
  write("etch:adapters_pinned", "gauge", "Adapters that stay in memory.", counts.pinned);
  write("etch:adapter_hits_total", "counter", "Requests whose adapter was in memory.", counts.hits);
  write("etch:adapter_loads_total", "counter", "Adapters brought into memory.", counts.loads);
  write("etch:adapter_loaded_bytes_total", "counter", "Bytes of the budget that they took.",
        counts.loaded_bytes);
  write("etch:adapter_load_seconds_total", "counter", "Time that it took.", counts.load_seconds);
  write("etch:adapter_evictions_total", "counter", "Adapters that made room for others.",
        counts.evictions);
  write("etch:budget_bytes", "gauge", "Budget of adapters and contexts; 0: no limit.",
        gauges.budget_bytes);
  Head("etch:budget_used_bytes", "gauge", "Bytes of the budget that are taken.", out);
  for (const auto& [use, bytes] : gauges.used_bytes) {
    Sample("etch:budget_used_bytes", model + "," + Label("use", use), bytes, out);
  }
}

std::string Metrics::Text(const Gauges& gauges) const {
  const std::lock_guard lock(mutex_);
  const std::string model = Label("model_name", model_name_);
  std::string out;
  Head("vllm:num_requests_running", "gauge", "Sequences that take turns.", out);
  Sample("vllm:num_requests_running", model, gauges.scheduler.running, out);
  Head("vllm:num_requests_waiting", "gauge", "Sequences that wait.", out);
  Sample("vllm:num_requests_waiting", model, gauges.scheduler.waiting, out);
  if (gauges.kv_cache_usage) {
    Head("vllm:kv_cache_usage_perc", "gauge", "Share of the context memory that is taken, 0 to 1.",
         out);
    Sample("vllm:kv_cache_usage_perc", model, *gauges.kv_cache_usage, out);
  }
  Head("vllm:lora_requests_info", "gauge",
       "Unix time of this scrape; the adapters under way stand in the labels.", out);
  Sample("vllm:lora_requests_info",
         Label("max_lora", std::to_string(gauges.max_running)) + "," +
             Label("running_lora_adapters", Active(running_)) + "," +
             Label("waiting_lora_adapters", Active(waiting_)),
         gauges.unix_time, out);
  WriteLatencies(out);
  WriteAdapters(gauges, out);
  Head("etch:connections", "gauge", "Open connections, idle ones too.", out);
  Sample("etch:connections", model, gauges.connections, out);
  Head("etch:draft_tokens_total", "counter", "Tokens guessed ahead.", out);
  Sample("etch:draft_tokens_total", model, gauges.scheduler.speculation.drafted, out);
  Head("etch:draft_tokens_accepted_total", "counter", "Tokens guessed ahead that were right.", out);
  Sample("etch:draft_tokens_accepted_total", model, gauges.scheduler.speculation.accepted, out);
  Head("etch:copied_prompt_tokens_total", "counter",
       "Prompt tokens of further choices (n), copied from the first.", out);
  Sample("etch:copied_prompt_tokens_total", model, gauges.scheduler.copied_tokens, out);
  WriteTenants(out);
  return out;
}

}  // namespace etch::serve
