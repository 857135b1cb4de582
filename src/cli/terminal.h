#pragma once

// What the command line shares: the progress line, interruption, errors and exit codes. Results go
// to standard output, everything else to standard error.

#include <atomic>
#include <chrono>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/error.h"
#include "base/progress.h"

namespace etch::cli {

// Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitInterrupted = 130;

// Turns the first Ctrl-C (SIGINT) or SIGTERM into a flag that long work looks at; the second ends
// the process.
void CatchInterrupts();
bool Interrupted();

// From the first call on SIGHUP no longer ends the program: true once for each time that it came
// since the last call (several in between count once).
bool TakeHangup();

// "etch: message" on standard error; returns the exit code of the error.
int Report(const Error& error);

// `json` on one line of standard output; bytes that are no UTF-8 (names of files, a model's text)
// become U+FFFD.
void PrintJson(const nlohmann::ordered_json& json);

// One line that is drawn over and over on a terminal: phase, share, rate, time left. Silent when
// standard error is not a terminal or `quiet`. Asks for a stop once the user interrupts.
class ProgressLine {
 public:
  explicit ProgressLine(bool quiet = false);
  ~ProgressLine();
  ProgressFn Callback();

 private:
  bool Update(const ProgressUpdate& update);

  bool visible_;
  bool drawn_ = false;
  std::string phase_unit_;
  int64_t phase_begin_ = 0;
  std::chrono::steady_clock::time_point begin_;
  std::chrono::steady_clock::time_point last_;
};

// "1:02:03", "2:05", "0:07".
std::string HumanSeconds(double seconds);
// "8.03 billion", "135 million", "260 thousand".
std::string HumanCount(double count);

}  // namespace etch::cli
