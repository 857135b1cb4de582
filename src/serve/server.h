#pragma once

// The HTTP server: the OpenAI API over one engine and a set of adapters. It sees Engine, Scheduler
// and token ids, never a tensor; JSON stops in this folder.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "engine/engine.h"
#include "engine/scheduler.h"
#include "serve/request_log.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace etch::serve {

struct ServerOptions {
  std::string host = "127.0.0.1";
  uint16_t port = 8080;                 // 0: any free one
  std::vector<std::string> api_keys;    // empty: no key is asked for
  std::vector<std::string> admin_keys;  // these may load and unload adapters, too
  std::filesystem::path adapters;       // folder of PEFT directories and .gguf files; empty: none
  int threads = 2;                      // of HTTP; the engine has its own
  engine::SchedulerOptions scheduler;   // its budget is the server's own
  int64_t sram_bytes = 0;               // budget of adapters and contexts together; 0: no limit
  std::vector<std::string> pinned;      // adapters that are loaded at start and stay
  // Hears of what the operator should know, one line at a time, by any thread. May be empty.
  std::function<void(const std::string&)> warn;
  uint64_t max_body_bytes = 8 << 20;
  uint64_t max_upload_bytes = 1 << 30;  // of an adapter
  double idle_timeout_s = 75.0;         // of a connection between two requests
  double read_timeout_s = 30.0;         // of a request's head; of its body, beside a least rate
  double write_timeout_s = 30.0;        // in which a peer has to take something of its answer
  int64_t max_connections = 0;          // 0: as many as the limit of open files has room for

  std::filesystem::path tenants;  // the store of `etch tenant`; empty: no tenants
  bool metrics_open = false;      // /metrics without a key
  LogFormat log_format = LogFormat::kOff;
  LogSink log_sink;
  std::filesystem::path tls_certificate;  // PEM; empty: plain HTTP
  std::filesystem::path tls_key;
  std::vector<std::string> cors_origins;  // "*": any
};

class Server {
 public:
  // Binds the port and loads the adapters. `engine` must outlive the server. kIo when the port is
  // taken; an adapter that does not fit is an error that names it.
  static Result<std::unique_ptr<Server>> Create(engine::Engine& engine,
                                                const ServerOptions& options);
  ~Server();

  std::string url() const;  // "http://127.0.0.1:8080"; https with TLS
  const std::vector<std::string>& adapter_names() const;

  // Serves until Stop(). Then finishes running requests for at most `drain_s` seconds.
  void Run();
  // Reads certificates and the folder of adapters again (tenants are read whenever they change).
  // What cannot be read leaves the former in place and is named by the error. From any thread.
  Status Reload();
  // From any thread or signal handler's thread.
  void Stop(double drain_s = 10.0);

 private:
  struct Impl;
  explicit Server(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace etch::serve
