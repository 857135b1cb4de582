// etch serve: the OpenAI API over an image and a folder of adapters.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/file.h"
#include "base/memory.h"
#include "cli/commands.h"
#include "cli/loaded_model.h"
#include "cli/request_log_sink.h"
#include "cli/terminal.h"
#include "serve/server.h"

namespace etch::cli {
namespace {

struct Options {
  RunOptions model;
  serve::ServerOptions server;
  std::string api_key_file;
  double drain_s = 10.0;
  std::string sram;
  std::string prefix_cache = "1GiB";
  bool json = false;
};

const std::map<std::string, serve::LogFormat> kLogFormats = {{"off", serve::LogFormat::kOff},
                                                             {"text", serve::LogFormat::kText},
                                                             {"json", serve::LogFormat::kJson}};

Status AddKeys(Options& options) {
  if (const char* key = std::getenv("ETCH_API_KEY"); key != nullptr && *key != '\0') {
    options.server.api_keys.emplace_back(key);
  }
  if (const char* key = std::getenv("ETCH_ADMIN_KEY"); key != nullptr && *key != '\0') {
    options.server.admin_keys.emplace_back(key);
  }
  if (options.api_key_file.empty()) {
    return {};
  }
  ETCH_ASSIGN_OR_RETURN(const std::string text, ReadSmallFile(options.api_key_file, 1 << 20));
  const size_t before = options.server.api_keys.size();
  size_t begin = 0;
  while (begin < text.size()) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string line = text.substr(begin, end - begin);
    line.erase(line.find_last_not_of(" \t\r") + 1);
    if (!line.empty() && line.front() != '#') {
      options.server.api_keys.push_back(line);
    }
    begin = end + 1;
  }
  if (options.server.api_keys.size() == before) {  // never open by accident
    return Fail(ErrorCode::kInvalidArgument, "{}: holds no key", options.api_key_file);
  }
  return {};
}

// "4GiB", "487MB", "65536", or hc1: the SRAM of the chip of that name.
Result<int64_t> ParseSize(const std::string& option, const std::string& text) {
  constexpr int64_t kMebi = int64_t{1} << 20;
  if (text == "hc1") {
    return 487 * kMebi;
  }
  struct Unit {
    std::string_view name;
    int64_t bytes;
  };
  constexpr std::array<Unit, 9> kUnits = {{{"", 1},
                                           {"B", 1},
                                           {"KB", 1000},
                                           {"MB", 1000 * 1000},
                                           {"GB", 1000 * 1000 * 1000},
                                           {"KiB", 1024},
                                           {"MiB", kMebi},
                                           {"GiB", 1024 * kMebi},
                                           {"TiB", 1024 * 1024 * kMebi}}};
  double number = 0.0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view rest(stop, static_cast<size_t>(text.data() + text.size() - stop));
  const auto* const unit = std::ranges::find(kUnits, rest, &Unit::name);
  const double bytes =
      error == std::errc() && unit != kUnits.end() ? number * static_cast<double>(unit->bytes) : -1;
  if (!(bytes >= 0.0 && bytes < 0x1p62)) {
    return Fail(ErrorCode::kInvalidArgument,
                "{} {}: not a size; write a number with B, KB, MB, GB, KiB, MiB, GiB or TiB",
                option, text);
  }
  return static_cast<int64_t>(bytes);
}

Status ReadSizes(Options& options) {
  if (!options.sram.empty()) {
    ETCH_ASSIGN_OR_RETURN(options.server.sram_bytes, ParseSize("--sram", options.sram));
    if (options.server.sram_bytes == 0) {
      return Fail(ErrorCode::kInvalidArgument, "--sram 0: nothing fits; leave it out for no limit");
    }
  }
  ETCH_ASSIGN_OR_RETURN(options.server.scheduler.prefix_cache_bytes,
                        ParseSize("--prefix-cache", options.prefix_cache));
  return {};
}

Status Serve(Options& options) {
  ETCH_TRY(AddKeys(options));
  ETCH_TRY(ReadSizes(options));
  options.server.warn = [](const std::string& line) { fmt::print(stderr, "etch: {}\n", line); };
  UseOneHeap();
  TakeHangup();  // from here on it means: read again
  RequestLogSink log;
  options.server.log_sink = [&log](const std::string& line) { log.Push(line); };
  ETCH_ASSIGN_OR_RETURN(const LoadedModel model, LoadModel(options.model));
  ETCH_ASSIGN_OR_RETURN(const std::unique_ptr<serve::Server> server,
                        serve::Server::Create(*model.engine, options.server));
  if (options.json) {
    PrintJson(nlohmann::ordered_json({{"url", server->url()},
                                      {"model", model.image->name()},
                                      {"adapters", server->adapter_names()}}));
  } else {
    fmt::print("{} with {} adapters at {}/v1 (context {}, {} threads). Ctrl-C stops.\n",
               model.image->name(), server->adapter_names().size(), server->url(),
               model.engine->info().context, model.engine->info().threads);
  }
  std::fflush(stdout);
  std::thread watcher([&server, &options] {
    while (!Interrupted()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      if (TakeHangup()) {
        if (const Status status = server->Reload(); !status) {
          Report(status.error());
        }
      }
    }
    server->Stop(options.drain_s);
  });
  server->Run();
  watcher.join();
  return {};
}

int Execute(Options& options) {
  const Status status = Serve(options);
  return status ? 0 : Report(status.error());
}

}  // namespace

void AddServe(CLI::App& app, int* exit_code) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("serve", "Serve the OpenAI API, an adapter per request");
  command->footer(
      "The model's id and the name of every adapter in the folder (a PEFT directory or a .gguf)\n"
      "stand in /v1/models; a request picks one with \"model\". The server listens on this "
      "machine\n"
      "only unless --host says otherwise; set a key before you open it to others\n"
      "(ETCH_API_KEY or --api-key-file, one a line), or give each customer a key, adapters and\n"
      "limits of its own (`etch tenant`, --tenants). The key in ETCH_ADMIN_KEY, or a tenant's\n"
      "admin key, may also load, unload and upload adapters (docs/api.md). GET /metrics is for "
      "Prometheus.\n"
      "SIGHUP reads certificates and adapters again; SIGTERM finishes what runs, then ends.\n"
      "\n"
      "Examples:\n"
      "  etch serve model.etch --adapters adapters/ --port 8080\n"
      "  curl http://127.0.0.1:8080/v1/chat/completions -d \\\n"
      "    '{\"model\":\"acme\",\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}'\n"
      "  etch serve model.etch --adapters adapters/ --tenants tenants.db --log-format json \\\n"
      "    --host 0.0.0.0 --tls-cert chain.pem --tls-key key.pem");
  AddRunOptions(*command, options->model, false);
  command->add_option("--adapters", options->server.adapters, "Folder of adapters");
  command->add_option(
      "--sram", options->sram,
      "Budget of adapters and contexts together (4GiB; hc1: 487MiB); else no limit");
  command->add_option("--pin", options->server.pinned, "Adapter that is loaded at start and stays");
  command
      ->add_option("--prefix-cache", options->prefix_cache,
                   "Most that contexts of ended requests take, within the budget; 0: keep none")
      ->capture_default_str();
  command->add_option("--host", options->server.host, "Address to listen on")
      ->capture_default_str();
  command->add_option("--port", options->server.port, "Port; 0: any free one")
      ->capture_default_str();
  command->add_option("--api-key-file", options->api_key_file, "File with one API key a line");
  command->add_option("--tenants", options->server.tenants,
                      "File of `etch tenant`: keys, limits and usage");
  command->add_flag("--metrics-open", options->server.metrics_open, "/metrics without a key");
  command
      ->add_option("--log-format", options->server.log_format,
                   "A line a request on standard error: off, text or json")
      ->transform(CLI::CheckedTransformer(kLogFormats))
      ->default_str("off");
  command->add_option("--tls-cert", options->server.tls_certificate,
                      "Certificate chain (PEM): HTTPS");
  command->add_option("--tls-key", options->server.tls_key, "Its private key (PEM)");
  command->add_option("--cors", options->server.cors_origins,
                      "Origin whose pages may call, or *; again for more");
  command
      ->add_option("--parallel", options->server.scheduler.max_running,
                   "Requests that take turns; more wait")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  command->add_option("--queue", options->server.scheduler.max_waiting, "Requests that may wait")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command
      ->add_option("--drain", options->drain_s, "Seconds that running requests get after SIGTERM")
      ->check(CLI::Range(0.0, 86400.0))
      ->capture_default_str();
  command
      ->add_option("--max-connections", options->server.max_connections,
                   "Open connections; else as many as the limit of open files has room for")
      ->check(CLI::Range(1, 1 << 20));
  const CLI::Range seconds(0.1, 86400.0);
  command
      ->add_option("--idle-timeout", options->server.idle_timeout_s,
                   "Seconds that a connection may be idle")
      ->check(seconds)
      ->capture_default_str();
  command
      ->add_option("--read-timeout", options->server.read_timeout_s,
                   "Seconds for a request's head, and for its body beside 16 KiB/s")
      ->check(seconds)
      ->capture_default_str();
  command
      ->add_option("--write-timeout", options->server.write_timeout_s,
                   "Seconds in which a client has to take something of its answer")
      ->check(seconds)
      ->capture_default_str();
  AddSpeculateOption(*command, options->server.scheduler.speculation);
  command->add_flag("--json", options->json, "Print one JSON object when ready");
  command->callback([options, exit_code] { *exit_code = Execute(*options); });
}

}  // namespace etch::cli
