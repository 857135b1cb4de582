#include "serve/server.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/error.hpp>
#include <chrono>
#include <mutex>
#include <optional>
#include <thread>

#include "serve/adapter_files.h"
#include "serve/connection.h"
#include "serve/open_files.h"
#include "serve/tls.h"

namespace etch::serve {
namespace {

namespace asio = boost::asio;
using tcp = asio::ip::tcp;
constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);

// The certificates in use; a reload puts others in their place for connections to come.
class TlsSlot {
 public:
  std::shared_ptr<asio::ssl::context> Get() const {
    const std::lock_guard lock(mutex_);
    return context_;
  }
  void Set(std::shared_ptr<asio::ssl::context> context) {
    const std::lock_guard lock(mutex_);
    context_ = std::move(context);
  }

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<asio::ssl::context> context_;  // null: plain
};

// Files that stay free for adapters, uploads and the tenants' file when all connections are taken.
constexpr int64_t kReservedFiles = 64;

// Counts a connection until its end.
asio::awaitable<void> Serve(Service& service, tcp::socket socket,
                            std::shared_ptr<asio::ssl::context> tls) {
  struct Open {
    std::atomic<int64_t>& count;
    ~Open() { --count; }
  };
  const Open open{service.connections};
  co_await ServeConnection(service, std::move(socket), std::move(tls));
}

// Tells a connection that is one too many so, if its buffer takes it, and closes it.
void TurnAway(tcp::socket socket, bool is_plain) {
  static constexpr std::string_view kReply =
      "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n"
      "Connection: close\r\n\r\n";
  boost::beast::error_code ignored;
  socket.non_blocking(true, ignored);
  if (is_plain) {
    socket.write_some(asio::buffer(kReply), ignored);
  }
  socket.shutdown(tcp::socket::shutdown_send, ignored);
}

// Runs on the acceptor's strand; each connection gets one of its own.
asio::awaitable<void> Accept(Service& service, asio::io_context& io, tcp::acceptor& acceptor,
                             const TlsSlot& tls, int64_t max_connections) {
  while (acceptor.is_open()) {
    auto [error, socket] = co_await acceptor.async_accept(asio::make_strand(io), kAwait);
    if (error == asio::error::operation_aborted || error == asio::error::bad_descriptor) {
      break;
    }
    if (error) {  // out of file descriptors: the next try may find some
      asio::steady_timer pause(acceptor.get_executor(), std::chrono::milliseconds(50));
      co_await pause.async_wait(kAwait);
      continue;
    }
    if (service.connections >= max_connections) {
      service.metrics.Rejected("", "connections");
      TurnAway(std::move(socket), tls.Get() == nullptr);
      continue;
    }
    ++service.connections;
    boost::beast::error_code ignored;
    socket.set_option(tcp::no_delay(true), ignored);
    const auto executor = socket.get_executor();
    asio::co_spawn(executor, Serve(service, std::move(socket), tls.Get()), asio::detached);
  }
}

}  // namespace

struct Server::Impl {
  Impl(engine::Engine& engine_in, const ServerOptions& options_in,
       std::unique_ptr<text::Tokenizer> tokenizer_in)
      : options(options_in),
        tokenizer(std::move(tokenizer_in)),
        budget(options_in.sram_bytes),
        adapters(engine_in.image().config(), engine_in.image().name(), budget,
                 {engine_in.info().backend == engine::BackendName(engine::BackendKind::kFloat), 0,
                  options_in.warn}),
        constraints(*tokenizer, engine_in.image().config().vocab_size),
        engine(engine_in),
        metrics(engine_in.image().name()) {}

  Status Bind();
  Status LoadTls();
  // Finds out how many connections there may be.
  Status LimitConnections();

  ServerOptions options;
  std::unique_ptr<text::Tokenizer> tokenizer;
  std::optional<text::ChatTemplate> chat_template;
  engine::Budget budget;  // outlives all that reserves
  AdapterRegistry adapters;
  ConstraintCache constraints;
  std::vector<std::string> adapter_names;
  LoraTable loras;
  engine::Engine& engine;
  std::unique_ptr<Tenancy> tenancy;  // null without tenants
  std::optional<Access> access;
  Metrics metrics;
  std::atomic<int64_t> answering = 0;
  std::atomic<int64_t> connections = 0;
  int64_t max_connections = 0;
  TlsSlot tls;

  asio::io_context io;
  tcp::acceptor acceptor{asio::make_strand(io)};
  asio::thread_pool slow_requests{1};
  std::optional<engine::Scheduler> scheduler;
  std::optional<Service> service;
  std::string url;
};

Status Server::Impl::Bind() {
  boost::beast::error_code error;
  const asio::ip::address address = asio::ip::make_address(options.host, error);
  if (error) {
    return Fail(ErrorCode::kInvalidArgument, "--host {}: not an IP address", options.host);
  }
  const tcp::endpoint endpoint(address, options.port);
  acceptor.open(endpoint.protocol(), error);
  if (!error) {
    acceptor.set_option(asio::socket_base::reuse_address(true), error);
    acceptor.bind(endpoint, error);
  }
  if (!error) {
    acceptor.listen(asio::socket_base::max_listen_connections, error);
  }
  if (error) {
    return Fail(ErrorCode::kIo, "cannot listen on {}:{}: {}; choose another --port", options.host,
                options.port, error.message());
  }
  const std::string host = address.is_v6() ? "[" + address.to_string() + "]" : address.to_string();
  url = fmt::format("{}://{}:{}", tls.Get() ? "https" : "http", host,
                    acceptor.local_endpoint().port());
  return {};
}

Status Server::Impl::LimitConnections() {
  const OpenFiles files = RaiseOpenFileLimit();
  max_connections = files.limit - files.open - kReservedFiles;
  if (max_connections < 1) {
    return Fail(ErrorCode::kUnavailable,
                "the limit of {} open files leaves none for connections; raise it (ulimit -n)",
                files.limit);
  }
  if (options.max_connections > max_connections) {
    return Fail(ErrorCode::kInvalidArgument,
                "--max-connections {}: the limit of {} open files has room for {}; raise it "
                "(ulimit -Hn, LimitNOFILE=)",
                options.max_connections, files.limit, max_connections);
  }
  if (options.max_connections > 0) {
    max_connections = options.max_connections;
  }
  return {};
}

Status Server::Impl::LoadTls() {
  if (options.tls_certificate.empty() != options.tls_key.empty()) {
    return Fail(ErrorCode::kInvalidArgument, "TLS needs both --tls-cert and --tls-key");
  }
  if (!options.tls_certificate.empty()) {
    ETCH_ASSIGN_OR_RETURN(auto context, MakeTlsContext(options.tls_certificate, options.tls_key));
    tls.Set(std::move(context));
  }
  return {};
}

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Server::~Server() {
  // What reads large bodies works on connections.
  impl_->slow_requests.join();
  // The scheduler and the meter call into connections, and connections into them: stop the first,
  // then drop the second.
  impl_->scheduler.reset();
  if (impl_->tenancy) {
    impl_->tenancy->StopMeter();
  }
  impl_->io.stop();
}

Result<std::unique_ptr<Server>> Server::Create(engine::Engine& engine,
                                               const ServerOptions& options) {
  const image::Image& image = engine.image();
  ETCH_ASSIGN_OR_RETURN(std::unique_ptr<text::Tokenizer> tokenizer,
                        text::Tokenizer::Create(image.vocabulary()));
  auto impl = std::make_unique<Impl>(engine, options, std::move(tokenizer));
  if (!image.vocabulary().chat_template.empty()) {
    ETCH_ASSIGN_OR_RETURN(impl->chat_template,
                          text::ChatTemplate::Parse(image.vocabulary().chat_template));
  }
  if (!options.adapters.empty()) {
    SweepAside(options.adapters);
    ETCH_TRY(impl->adapters.AddFolder(options.adapters));
  }
  for (const std::string& name : options.pinned) {
    ETCH_TRY(impl->adapters.Pin(name, true));
  }
  impl->options.scheduler.budget = &impl->budget;
  impl->adapter_names = impl->adapters.Names();
  for (const std::string& name : impl->adapter_names) {
    impl->loras.IdOf(name);
  }
  if (!options.tenants.empty()) {
    ETCH_ASSIGN_OR_RETURN(impl->tenancy, Tenancy::Open(options.tenants));
  }
  impl->access.emplace(options.api_keys, impl->tenancy ? &impl->tenancy->directory() : nullptr,
                       options.admin_keys);
  ETCH_TRY(impl->LoadTls());
  ETCH_TRY(impl->LimitConnections());
  ETCH_TRY(impl->Bind());
  impl->scheduler.emplace(engine, impl->options.scheduler);
  const int64_t now = std::chrono::duration_cast<std::chrono::seconds>(
                          std::chrono::system_clock::now().time_since_epoch())
                          .count();
  impl->service.emplace(Service{engine, impl->options, *impl->tokenizer,
                                impl->chat_template ? &*impl->chat_template : nullptr,
                                impl->adapters, *impl->scheduler, impl->constraints, *impl->access,
                                impl->metrics, impl->tenancy.get(), now, impl->answering,
                                impl->loras, impl->connections, impl->slow_requests});
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

std::string Server::url() const { return impl_->url; }

const std::vector<std::string>& Server::adapter_names() const { return impl_->adapter_names; }

void Server::Run() {
  asio::co_spawn(
      impl_->acceptor.get_executor(),
      Accept(*impl_->service, impl_->io, impl_->acceptor, impl_->tls, impl_->max_connections),
      asio::detached);
  std::vector<std::thread> threads;
  for (int thread = 1; thread < impl_->options.threads; ++thread) {
    threads.emplace_back([this] { impl_->io.run(); });
  }
  impl_->io.run();
  for (std::thread& thread : threads) {
    thread.join();
  }
}

Status Server::Reload() {
  ETCH_TRY(impl_->LoadTls());
  if (!impl_->options.adapters.empty()) {
    return impl_->adapters.ReloadFolder(impl_->options.adapters);
  }
  return {};
}

void Server::Stop(double drain_s) {
  using std::chrono::steady_clock;
  const auto end = steady_clock::now() + std::chrono::duration<double>(drain_s);
  asio::post(impl_->acceptor.get_executor(), [this] {
    boost::beast::error_code ignored;
    impl_->acceptor.close(ignored);
  });
  impl_->scheduler->Drain(drain_s);
  // What is finished still has to be metered and written.
  while (impl_->answering > 0 && steady_clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  impl_->io.stop();
}

}  // namespace etch::serve
