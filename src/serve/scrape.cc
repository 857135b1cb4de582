#include "serve/scrape.h"

#include <algorithm>
#include <iterator>

#include "engine/budget.h"
#include "tenant/calendar.h"

namespace etch::serve {
namespace {

// Share of the memory that contexts of running requests take. With a budget it is what idle
// adapters and kept contexts would leave them; without one a sequence reserves its whole context
// when it starts, and the places taken are the memory taken.
double ContextUsage(const Service& service, int64_t running) {
  using Use = engine::Budget::Use;
  const engine::Budget& budget = service.adapters.budget();
  if (budget.limit_bytes() == 0) {
    return static_cast<double>(running) /
           static_cast<double>(std::max<int64_t>(1, service.options.scheduler.max_running));
  }
  const int64_t adapters = budget.used_bytes(Use::kAdapter) +
                           budget.used_bytes(Use::kPinnedAdapter) - service.adapters.idle_bytes();
  const int64_t room = std::max<int64_t>(1, budget.limit_bytes() - adapters);
  return std::min(
      1.0, static_cast<double>(budget.used_bytes(Use::kContext)) / static_cast<double>(room));
}

}  // namespace

std::string MetricsText(const Service& service) {
  using Use = engine::Budget::Use;
  const engine::Budget& budget = service.adapters.budget();
  Gauges gauges;
  gauges.scheduler = service.scheduler.status();
  gauges.max_running = service.options.scheduler.max_running;
  gauges.kv_cache_usage = ContextUsage(service, gauges.scheduler.running);
  gauges.adapters = service.adapters.counts();
  gauges.connections = service.connections;
  gauges.budget_bytes = budget.limit_bytes();
  gauges.used_bytes = {{"adapter", budget.used_bytes(Use::kAdapter)},
                       {"pinned_adapter", budget.used_bytes(Use::kPinnedAdapter)},
                       {"context", budget.used_bytes(Use::kContext)},
                       {"kept_context", budget.used_bytes(Use::kPrefix)}};
  gauges.unix_time = tenant::UnixTime();
  return service.metrics.Text(gauges);
}

}  // namespace etch::serve
