#include "cli/terminal.h"

#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/bytes.h"

namespace etch::cli {
namespace {

// Lock-free, and so fit for signal handlers; other threads read them.
std::atomic<bool> interrupted = false;
std::atomic<bool> hung_up = false;
static_assert(std::atomic<bool>::is_always_lock_free);

extern "C" void OnHangup(int /*signal*/) { hung_up = true; }

extern "C" void OnInterrupt(int /*signal*/) {
  if (interrupted.exchange(true)) {
    ::_exit(kExitInterrupted);
  }
}

std::string HumanRate(double per_second, std::string_view unit) {
  return unit == "bytes"     ? HumanBytes(per_second) + "/s"
         : per_second >= 1e6 ? fmt::format("{:.1f} M {}/s", per_second / 1e6, unit)
                             : fmt::format("{:.0f} {}/s", per_second, unit);
}

}  // namespace

void CatchInterrupts() {
  struct sigaction action = {};
  action.sa_handler = OnInterrupt;
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
}

bool Interrupted() { return interrupted; }

bool TakeHangup() {
  static const bool is_caught = [] {
    struct sigaction action = {};
    action.sa_handler = OnHangup;
    action.sa_flags = SA_RESTART;
    return ::sigaction(SIGHUP, &action, nullptr) == 0;
  }();
  return hung_up.exchange(false) && is_caught;
}

void PrintJson(const nlohmann::ordered_json& json) {
  fmt::print("{}\n", json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

int Report(const Error& error) {
  fmt::print(stderr, "etch: {}\n", error.message);
  return error.code == ErrorCode::kCancelled ? kExitInterrupted : kExitFailed;
}

ProgressLine::ProgressLine(bool quiet) : visible_(!quiet && ::isatty(STDERR_FILENO) == 1) {}

ProgressLine::~ProgressLine() {
  if (drawn_) {
    fmt::print(stderr, "\r\x1b[K");
  }
}

ProgressFn ProgressLine::Callback() {
  return [this](const ProgressUpdate& update) { return Update(update); };
}

bool ProgressLine::Update(const ProgressUpdate& update) {
  using std::chrono::steady_clock;
  if (Interrupted()) {
    return false;
  }
  const steady_clock::time_point now = steady_clock::now();
  if (update.unit != phase_unit_ || update.done < phase_begin_) {
    phase_unit_ = update.unit;
    phase_begin_ = update.done;
    begin_ = now;
  }
  if (!visible_ || now - last_ < std::chrono::milliseconds(100)) {
    return true;
  }
  last_ = now;
  drawn_ = true;
  const double seconds = std::chrono::duration<double>(now - begin_).count();
  const double rate =
      seconds > 0.2 ? static_cast<double>(update.done - phase_begin_) / seconds : 0.0;
  std::string line = fmt::format("\r\x1b[K{}", update.phase);
  if (update.total > 0) {
    line += fmt::format(
        "  {:.0f} %", 100.0 * static_cast<double>(update.done) / static_cast<double>(update.total));
  }
  if (rate > 0.0) {
    line += "  " + HumanRate(rate, update.unit);
    if (update.total > update.done) {
      line += "  " + HumanSeconds(static_cast<double>(update.total - update.done) / rate) + " left";
    }
  }
  fmt::print(stderr, "{}", line);
  std::fflush(stderr);
  return true;
}

std::string HumanSeconds(double seconds) {
  const auto whole = static_cast<int64_t>(seconds + 0.5);
  return whole >= 3600 ? fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60)
                       : fmt::format("{}:{:02}", whole / 60, whole % 60);
}

std::string HumanCount(double count) {
  return count >= 1e9   ? fmt::format("{:.3g} billion", count / 1e9)
         : count >= 1e6 ? fmt::format("{:.3g} million", count / 1e6)
         : count >= 1e3 ? fmt::format("{:.3g} thousand", count / 1e3)
                        : fmt::format("{:.0f}", count);
}

}  // namespace etch::cli
