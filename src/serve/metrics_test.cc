#include "serve/metrics.h"

#include <gtest/gtest.h>

#include <optional>

namespace etch::serve {
namespace {

bool HasLine(const std::string& text, const std::string& line) {
  return ("\n" + text).find("\n" + line + "\n") != std::string::npos;
}

TEST(Metrics, HistogramsAreCumulative) {
  Histogram histogram({1.0, 2.0});
  for (const double value : {0.5, 1.0, 1.5, 3.0}) {
    histogram.Observe(value);
  }
  std::string text;
  histogram.Write("h", "a=\"b\"", text);
  EXPECT_EQ(text,
            "h_bucket{a=\"b\",le=\"1\"} 2\nh_bucket{a=\"b\",le=\"2\"} 3\n"
            "h_bucket{a=\"b\",le=\"+Inf\"} 4\nh_sum{a=\"b\"} 6\nh_count{a=\"b\"} 4\n");
}

TEST(Metrics, GaugesSayWhatIsTrueNow) {
  Metrics metrics("base");
  Gauges gauges;
  gauges.scheduler.running = 3;
  gauges.scheduler.waiting = 4;
  gauges.max_running = 8;
  EXPECT_EQ(metrics.Text(gauges).find("kv_cache"), std::string::npos) << "unknown is left out";
  gauges.kv_cache_usage = 0.375;
  const std::string text = metrics.Text(gauges);
  EXPECT_TRUE(HasLine(text, "vllm:num_requests_running{model_name=\"base\"} 3"));
  EXPECT_TRUE(HasLine(text, "vllm:num_requests_waiting{model_name=\"base\"} 4"));
  EXPECT_TRUE(HasLine(text, "vllm:kv_cache_usage_perc{model_name=\"base\"} 0.375")) << text;
}

TEST(Metrics, AdaptersWaitThenRunThenAreGone) {
  Metrics metrics("base");
  Gauges gauges;
  gauges.max_running = 8;
  gauges.unix_time = 7;
  const auto shows = [&](const std::string& running, const std::string& waiting) {
    return HasLine(metrics.Text(gauges),
                   "vllm:lora_requests_info{max_lora=\"8\","
                   "running_lora_adapters=\"" +
                       running + "\",waiting_lora_adapters=\"" + waiting + "\"} 7");
  };
  EXPECT_TRUE(shows("", ""));
  std::optional<Metrics::Presence> first(std::in_place, metrics, "a");
  std::optional<Metrics::Presence> second(std::in_place, metrics, "b");
  std::optional<Metrics::Presence> third(std::in_place, metrics, "b");
  const Metrics::Presence base(metrics, "");
  EXPECT_TRUE(shows("", "a,b"));
  first->Start();
  second->Start();
  second->Start();
  EXPECT_TRUE(shows("a,b", "b"));
  third.reset();
  first.reset();
  EXPECT_TRUE(shows("b", ""));
  second.reset();
  EXPECT_TRUE(shows("", ""));
}

TEST(Metrics, CountsByTenantAndAdapter) {
  Metrics metrics("base");
  metrics.Ended({"acme", "a", 10, 20, 0.1});
  metrics.Ended({"acme", "a", 1, 2, 0.1});
  metrics.Ended({"acme", "", 5, 5, 0.1});
  metrics.Rejected("acme", "requests_per_minute");
  const std::string text = metrics.Text({});
  EXPECT_TRUE(HasLine(text, "etch:requests_total{tenant=\"acme\",adapter=\"a\"} 2"));
  EXPECT_TRUE(HasLine(text, "etch:prompt_tokens_total{tenant=\"acme\",adapter=\"a\"} 11"));
  EXPECT_TRUE(HasLine(text, "etch:completion_tokens_total{tenant=\"acme\",adapter=\"\"} 5"));
  EXPECT_TRUE(
      HasLine(text, "etch:rejected_total{tenant=\"acme\",reason=\"requests_per_minute\"} 1"));
}

TEST(Metrics, ShowsWhatAdaptersAndTheBudgetDo) {
  const Metrics metrics("base");
  Gauges gauges;
  gauges.adapters.known = 5;
  gauges.adapters.resident = 3;
  gauges.adapters.pinned = 1;
  gauges.adapters.hits = 7;
  gauges.adapters.loads = 4;
  gauges.adapters.loaded_bytes = 4096;
  gauges.adapters.load_seconds = 0.5;
  gauges.adapters.evictions = 2;
  gauges.connections = 9;
  gauges.budget_bytes = 1000;
  gauges.used_bytes = {{"adapter", 600}, {"context", 100}};
  const std::string text = metrics.Text(gauges);
  for (const char* line :
       {"etch:adapters{model_name=\"base\"} 5", "etch:adapters_resident{model_name=\"base\"} 3",
        "etch:adapters_pinned{model_name=\"base\"} 1",
        "etch:adapter_hits_total{model_name=\"base\"} 7",
        "etch:adapter_loads_total{model_name=\"base\"} 4",
        "etch:adapter_loaded_bytes_total{model_name=\"base\"} 4096",
        "etch:adapter_load_seconds_total{model_name=\"base\"} 0.5",
        "etch:adapter_evictions_total{model_name=\"base\"} 2",
        "etch:connections{model_name=\"base\"} 9", "etch:budget_bytes{model_name=\"base\"} 1000",
        "etch:budget_used_bytes{model_name=\"base\",use=\"adapter\"} 600",
        "etch:budget_used_bytes{model_name=\"base\",use=\"context\"} 100"}) {
    EXPECT_TRUE(HasLine(text, line)) << line;
  }
}

TEST(Metrics, LabelsAreEscapedAndBounded) {
  Metrics metrics("a\"b\\c\nd");
  EXPECT_NE(metrics.Text({}).find(R"(model_name="a\"b\\c\nd")"), std::string::npos);
  for (size_t count = 0; count < kMaxSeries + 10; ++count) {
    metrics.Ended({"tenant", std::to_string(count), 1, 1, 0.1});
  }
  metrics.Ended({"tenant", "0", 1, 1, 0.1});
  const std::string text = metrics.Text({});
  EXPECT_TRUE(HasLine(text, "etch:requests_total{tenant=\"other\",adapter=\"other\"} 10"));
  EXPECT_TRUE(HasLine(text, "etch:requests_total{tenant=\"tenant\",adapter=\"0\"} 2"));
}

}  // namespace
}  // namespace etch::serve
