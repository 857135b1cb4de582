#include "cli/request_log_sink.h"

#include <fmt/format.h>

#include <cstdio>

namespace etch::cli {
namespace {

constexpr size_t kMaxLines = 16384;

}  // namespace

RequestLogSink::RequestLogSink() : thread_([this] { Run(); }) {}

RequestLogSink::~RequestLogSink() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void RequestLogSink::Push(const std::string& line) {
  {
    const std::lock_guard lock(mutex_);
    if (lines_.size() >= kMaxLines) {
      ++dropped_;
      return;
    }
    if (dropped_ > 0) {
      lines_.push_back(fmt::format("{{\"dropped_log_lines\":{}}}\n", dropped_));
      dropped_ = 0;
    }
    lines_.push_back(line + "\n");
  }
  changed_.notify_all();
}

void RequestLogSink::Run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stopping_ || !lines_.empty(); });
    if (lines_.empty()) {
      return;
    }
    std::string text;
    for (const std::string& line : lines_) {
      text += line;
    }
    lines_.clear();
    lock.unlock();
    std::fwrite(text.data(), 1, text.size(), stderr);
    lock.lock();
  }
}

}  // namespace etch::cli
