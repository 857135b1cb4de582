#pragma once

// Lines of the request log on their way to standard error, on a thread of their own: a slow reader
// of the log must not slow an answer.

#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>
#include <thread>

namespace etch::cli {

class RequestLogSink {
 public:
  RequestLogSink();
  // Writes what is queued.
  ~RequestLogSink();
  RequestLogSink(const RequestLogSink&) = delete;
  RequestLogSink& operator=(const RequestLogSink&) = delete;

  // Never blocks; when too many lines wait this one is dropped, and the next that is written is
  // preceded by one that says how many were.
  void Push(const std::string& line);

 private:
  void Run();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::string> lines_;
  size_t dropped_ = 0;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace etch::cli
