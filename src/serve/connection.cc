// Requests of one connection are answered one after the other. A completion is started on the
// scheduler, whose thread posts pieces of text to this connection's strand; the coroutine sleeps on
// a timer that each piece wakes. When a write fails or the peer closes (serve/peer_watch.h) it has
// gone, and the completion is cancelled.
//
// The end of a metered answer (the whole of it, or the last chunk of a stream) is sent after its
// usage is on the disk: see tenant/meter.cc for what that makes exact.

#include "serve/connection.h"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <optional>

#include "serve/adapter_routes.h"
#include "serve/completion.h"
#include "serve/constraint_fields.h"
#include "serve/error_body.h"
#include "serve/peer_stream.h"
#include "serve/peer_watch.h"
#include "serve/reply.h"
#include "serve/request_log.h"
#include "serve/request_reader.h"
#include "serve/response.h"
#include "serve/routes.h"
#include "serve/scrape.h"

namespace etch::serve {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using std::chrono::steady_clock;
constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
// Of a body whose sender is nobody yet: enough for its mistake to be named behind it.
constexpr uint64_t kMaxStrangerBytes = 64 << 10;
// Reading more than this takes so long that others would notice.
constexpr size_t kLargeBytes = 256 << 10;
constexpr const char* kPrometheus = "text/plain; version=0.0.4; charset=utf-8";

// One request and its answer: what all the answer's heads carry, and what is logged.
struct Exchange {
  SteadyTime arrived;
  Caller caller;
  Headers headers;  // of the answer
  RequestLog log;
};

// Whether a request may hold up others until it is started: to read it, to read or write adapters,
// or to compile what its answer is held to.
bool MayTakeLong(std::string_view target, std::string_view body) {
  const auto holds = [&](std::string_view word) { return body.find(word) != body.npos; };
  return body.size() > kLargeBytes || target.find("adapter") != target.npos || holds("schema") ||
         holds("grammar") || holds("regex") || holds("choice");
}

// Counts a request that is read and not answered yet.
class Answering {
 public:
  explicit Answering(std::atomic<int64_t>& count) : count_(count) { ++count_; }
  ~Answering() { --count_; }
  Answering(const Answering&) = delete;
  Answering& operator=(const Answering&) = delete;

 private:
  std::atomic<int64_t>& count_;
};

// The coroutines below hold no temporaries across a co_await: what is sent stands in members (GCC
// 12 destroys some temporaries of such expressions twice).
class Connection {
 public:
  Connection(Service& service, asio::ip::tcp::socket socket,
             std::shared_ptr<asio::ssl::context> tls)
      : service_(service),
        stream_(std::move(socket), std::move(tls)),
        reader_(stream_, Limits()),
        watch_(stream_, reader_.buffer()),
        write_timeout_(Milliseconds(service.options.write_timeout_s)) {}

  asio::awaitable<void> Serve();

 private:
  static std::chrono::milliseconds Milliseconds(double seconds);
  ReadLimits Limits();
  // How large the body of `head` may be: large ones are for those who may send them.
  uint64_t BodyLimit(const HttpHead& head, uint64_t length, ReadFault& fault) const;
  // Reads one request into request_. False when there is none: the peer left, or reply_ says what
  // was wrong.
  asio::awaitable<bool> ReadRequest();
  asio::awaitable<bool> AnswerRequest();
  asio::awaitable<bool> AnswerWhole(Completion& completion);
  asio::awaitable<bool> AnswerStream(Completion& completion);
  // The chunks from a finished head to the last piece. False when the peer has gone.
  asio::awaitable<bool> SendPieces(Completion& completion);
  asio::awaitable<bool> SendEnd(Completion& completion);
  // Cancels what the peer no longer waits for, and meters what was computed.
  asio::awaitable<void> Abandon(Completion& completion);
  // False when the peer has gone; otherwise there is an arrival.
  asio::awaitable<bool> WaitForPiece(Mailbox& mailbox);
  // Meters a completed answer; when it returns true the usage is on the disk.
  asio::awaitable<bool> Commit(Completion& completion);
  // Sends reply_; writes chunk_, unless it is empty. False when the peer has gone.
  asio::awaitable<bool> SendReply();
  asio::awaitable<bool> WriteChunk();

  // Route, on the thread for large bodies: 8 MiB of text take seconds to read.
  asio::awaitable<std::optional<Completion>> RouteAside();
  // Answers request_ into reply_, or starts a completion.
  std::optional<Completion> Route();
  // Handles what needs no key; true when reply_ is the answer.
  bool RouteOpen(const std::string& target, bool is_get);
  // Lets the caller in, or says in reply_ why not.
  bool LetIn();
  std::optional<Completion> Start(Result<Ask> ask);
  bool MayAdminister();
  void Begin();
  void End(const Completion* completion);
  void Refuse(int status, const std::string& message, const std::string& code,
              const std::string& reason);
  // Of this request's surface.
  std::string Error(int status, const std::string& message, const std::string& code) const;
  template <class Body>
  void SetHeaders(http::response<Body>& response) const;

  Service& service_;
  PeerStream stream_;
  RequestReader reader_;
  PeerWatch watch_;
  const std::chrono::milliseconds write_timeout_;
  HttpRequest request_;
  Exchange exchange_;
  Reply reply_;
  std::string chunk_;
};

asio::awaitable<void> Connection::Serve() {
  bool alive = co_await stream_.Handshake();
  while (alive) {
    reply_ = {0, ""};
    if (!co_await ReadRequest()) {
      if (reply_.status != 0) {
        if (co_await SendReply()) {
          co_await stream_.Ignore();
        }
        End(nullptr);
      }
      break;
    }
    const Answering answering(service_.answering);
    alive = co_await AnswerRequest();
    alive = alive && request_.keep_alive();
    // An idle connection keeps nothing of what it was for.
    // (Assigning an empty text would keep the memory of the former.)
    std::string().swap(request_.body());
    std::string().swap(chunk_);
    request_ = {};
    reader_.Trim();
  }
  co_await stream_.Goodbye();
}

std::chrono::milliseconds Connection::Milliseconds(double seconds) {
  return std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000.0));
}

ReadLimits Connection::Limits() {
  const std::chrono::milliseconds read = Milliseconds(service_.options.read_timeout_s);
  return {Milliseconds(service_.options.idle_timeout_s), read, read,
          [this](const HttpHead& head, uint64_t length, ReadFault& fault) {
            return BodyLimit(head, length, fault);
          }};
}

asio::awaitable<bool> Connection::ReadRequest() {
  if (co_await reader_.Read(request_)) {
    Begin();
    co_return true;
  }
  const ReadFault& fault = reader_.fault();
  request_ = {};
  request_.version(11);
  request_.keep_alive(false);
  if (fault.status != 0) {
    Begin();
    Refuse(fault.status, fault.message, fault.code,
           fault.status == 401   ? "unauthorized"
           : fault.status == 408 ? "timeout"
                                 : "invalid");
  }
  co_return false;
}

uint64_t Connection::BodyLimit(const HttpHead& head, uint64_t length, ReadFault& fault) const {
  const bool is_upload = head.target() == kUploadPath && head.method() == http::verb::post;
  const uint64_t limit = service_.options.max_body_bytes;
  if (length <= std::min(limit, kMaxStrangerBytes)) {
    return limit;
  }
  const Result<Caller> caller = service_.access.Authenticate(head[http::field::authorization]);
  if (!caller && caller.error().code == ErrorCode::kNotFound) {
    fault = {401, caller.error().message, "invalid_api_key"};
    return 0;
  }
  return is_upload && caller && caller->admin ? service_.options.max_upload_bytes : limit;
}

void Connection::Begin() {
  exchange_ = {};
  exchange_.arrived = steady_clock::now();
  RequestLog& log = exchange_.log;
  log.time_ms = std::chrono::duration_cast<std::chrono::milliseconds>(
                    std::chrono::system_clock::now().time_since_epoch())
                    .count();
  log.request_id = RequestId(request_["X-Request-Id"]);
  log.trace = ParseTraceparent(request_["traceparent"]);
  log.method = std::string(request_.method_string());
  log.path = std::string(request_.target().substr(0, request_.target().find('?')));
}

void Connection::End(const Completion* completion) {
  RequestLog& log = exchange_.log;
  log.duration_s = std::chrono::duration<double>(steady_clock::now() - exchange_.arrived).count();
  if (completion != nullptr) {
    log.adapter = completion->adapter;
    log.finish = completion->finish;
    log.prompt_tokens = completion->usage.prompt_tokens;
    log.completion_tokens = completion->usage.completion_tokens;
    log.first_token_s = completion->timings.first_token_s;
    service_.metrics.Ended(
        {log.tenant, log.adapter, log.prompt_tokens, log.completion_tokens, log.duration_s});
  }
  if (service_.options.log_format != LogFormat::kOff && service_.options.log_sink) {
    service_.options.log_sink(FormatLog(log, service_.options.log_format));
  }
}

void Connection::Refuse(int status, const std::string& message, const std::string& code,
                        const std::string& reason) {
  reply_ = {status, ErrorBodyFor(exchange_.log.path, status, message, code)};
  // The message about a body that is no JSON quotes from it, and prompts are not logged.
  exchange_.log.error = code == ErrorCodeName(ErrorCode::kMalformed) ? code : Shortened(message);
  service_.metrics.Rejected(exchange_.caller.tenant_name(), reason);
}

asio::awaitable<bool> Connection::AnswerRequest() {
  const std::string_view target(request_.target().data(), request_.target().size());
  std::optional<Completion> completion;
  if (MayTakeLong(target, request_.body())) {
    completion = co_await RouteAside();
  } else {
    completion = Route();
  }
  bool alive = true;
  if (!completion) {
    alive = co_await SendReply();
  } else {
    watch_.Start([mailbox = completion->mailbox] {
      mailbox->peer_gone = true;
      mailbox->wake.cancel();
    });
    alive =
        completion->stream ? co_await AnswerStream(*completion) : co_await AnswerWhole(*completion);
    co_await watch_.Stop();
  }
  End(completion ? &*completion : nullptr);
  co_return alive;
}

asio::awaitable<std::optional<Completion>> Connection::RouteAside() {
  std::optional<Completion> completion;
  asio::steady_timer done(stream_.get_executor(), asio::steady_timer::time_point::max());
  bool is_done = false;
  asio::post(service_.slow_requests, [&] {
    completion = Route();
    asio::post(stream_.get_executor(), [&] {
      is_done = true;
      done.cancel();
    });
  });
  while (!is_done) {
    co_await done.async_wait(kAwait);
  }
  co_return std::move(completion);
}

bool Connection::RouteOpen(const std::string& target, bool is_get) {
  if (request_.method() == http::verb::options && !service_.options.cors_origins.empty()) {
    exchange_.headers.emplace_back("Access-Control-Allow-Methods", "GET, POST, DELETE, OPTIONS");
    exchange_.headers.emplace_back(
        "Access-Control-Allow-Headers",
        "Authorization, Content-Type, X-Request-Id, X-Strict, traceparent");
    exchange_.headers.emplace_back("Access-Control-Max-Age", "600");
    reply_ = {204, ""};
    return true;
  }
  if (is_get && (target == "/health" || target == "/v1/health")) {
    reply_ = {200, HealthBody(service_,
                              service_.access.Authenticate(request_[http::field::authorization]))};
    return true;
  }
  if (is_get && target == "/metrics" && service_.options.metrics_open) {
    reply_ = {200, MetricsText(service_), kPrometheus};
    return true;
  }
  return false;
}

bool Connection::LetIn() {
  Result<Caller> caller = service_.access.Authenticate(request_[http::field::authorization]);
  if (caller) {
    exchange_.caller = std::move(*caller);
    exchange_.log.tenant = exchange_.caller.tenant_name();
    exchange_.log.key = exchange_.caller.grant.key_prefix;
    return true;
  }
  if (caller.error().code == ErrorCode::kNotFound) {
    Refuse(401, caller.error().message, "invalid_api_key", "unauthorized");
  } else {
    Refuse(503, "keys cannot be checked at the moment", "unavailable", "failed");
    exchange_.log.error = caller.error().message;
  }
  return false;
}

bool Connection::MayAdminister() {
  if (!exchange_.caller.admin) {
    Refuse(403, "an admin key is needed; `etch tenant rotate --admin` makes one", "permission",
           "forbidden");
    return false;
  }
  // A page of some other site can make a browser send this, too.
  const std::vector<std::string>& origins = service_.options.cors_origins;
  const std::string origin(request_[http::field::origin]);
  const bool is_known = origin.empty() || std::ranges::find(origins, "*") != origins.end() ||
                        std::ranges::find(origins, origin) != origins.end();
  if (request_.method() != http::verb::get && !is_known) {
    Refuse(403, "pages of " + origin + " may not do this; see --cors", "permission", "forbidden");
    return false;
  }
  return true;
}

std::optional<Completion> Connection::Route() {
  const std::string target = exchange_.log.path;
  const http::verb verb = request_.method();
  const bool is_get = verb == http::verb::get || verb == http::verb::head;
  if (RouteOpen(target, is_get) || !LetIn()) {
    return std::nullopt;
  }
  if (is_get && target == "/metrics") {
    if (MayAdminister()) {
      reply_ = {200, MetricsText(service_), kPrometheus};
    }
    return std::nullopt;
  }
  const RouteRequest route{is_get                        ? Method::kGet
                           : verb == http::verb::post    ? Method::kPost
                           : verb == http::verb::delete_ ? Method::kDelete
                                                         : Method::kOther,
                           target, request_[http::field::content_type], request_.body()};
  if (IsAdminRoute(route)) {
    if (MayAdminister()) {
      reply_ = AnswerAdminRoute(service_, route);
    }
    return std::nullopt;
  }
  if (AskFunction ask = FindAsk(target)) {
    if (route.method != Method::kPost) {
      reply_ = {405, ErrorBodyFor(target, 405, target + " takes POST", "method_not_allowed")};
      return std::nullopt;
    }
    const std::string_view strict = request_["X-Strict"];
    return Start(ask(service_, route, strict == "true" || strict == "1"));
  }
  reply_ = AnswerRoute(service_, exchange_.caller, route);
  return std::nullopt;
}

std::optional<Completion> Connection::Start(Result<Ask> ask) {
  const Caller& caller = exchange_.caller;
  if (ask && ask->ready) {
    if (IsVisible(service_, caller, ask->request.model)) {
      reply_ = std::move(*ask->ready);
    } else {
      Refuse(404, "no model named \"" + ask->request.model + "\"", "model_not_found",
             "model_not_found");
    }
    return std::nullopt;
  }
  auto started = StartCompletion(service_, caller, std::move(ask), exchange_.log.request_id,
                                 exchange_.arrived, stream_.get_executor());
  if (caller.tenant() != nullptr) {
    exchange_.headers = RateHeaders(service_.tenancy->limiter().Remaining(*caller.tenant(), Now()));
  }
  if (started) {
    return std::move(*started);
  }
  const Refused& refused = started.error();
  Refuse(refused.status, refused.message, refused.code, refused.reason);
  if (refused.retry_after_s > 0) {
    exchange_.headers.emplace_back("Retry-After", std::to_string(refused.retry_after_s));
  }
  return std::nullopt;
}

asio::awaitable<bool> Connection::AnswerWhole(Completion& completion) {
  std::vector<ChoiceState> choices(static_cast<size_t>(completion.generation.choices));
  while (completion.unfinished > 0) {
    if (!co_await WaitForPiece(*completion.mailbox)) {
      co_await Abandon(completion);
      co_return false;
    }
    const Piece piece = TakePiece(completion, service_.metrics);
    ChoiceState& choice = choices[static_cast<size_t>(piece.choice)];
    choice.Add(piece);
  }
  if (!completion.failure.empty()) {
    Refuse(500, completion.failure, "server_error", "failed");
  } else if (completion.cancelled) {
    Refuse(503, "the server is shutting down", "unavailable", "failed");
  } else if (const bool is_recorded = co_await Commit(completion); !is_recorded) {
    Refuse(503, "the usage of this request cannot be stored", "usage_not_stored", "failed");
  } else {
    reply_ = {200, completion.format->Whole(ViewOf(completion, service_), choices)};
  }
  co_return co_await SendReply();
}

asio::awaitable<bool> Connection::Commit(Completion& completion) {
  bool is_stored = true;
  if (RecordUsage(service_, completion, tenant::Outcome::kCompleted)) {
    Mailbox& mailbox = *completion.mailbox;
    while (!mailbox.recorded) {
      co_await mailbox.wake.async_wait(kAwait);
    }
    is_stored = *mailbox.recorded;
  }
  completion.admission.Finish(completion.usage.completion_tokens);
  co_return is_stored;
}

asio::awaitable<bool> Connection::AnswerStream(Completion& completion) {
  http::response<http::empty_body> response{http::status::ok, request_.version()};
  response.set(http::field::content_type, completion.format->stream_type());
  response.set(http::field::cache_control, "no-cache");
  SetHeaders(response);
  exchange_.log.status = 200;
  response.keep_alive(request_.keep_alive());
  response.chunked(true);
  http::response_serializer<http::empty_body> serializer{response};
  stream_.tcp().expires_after(write_timeout_);
  const auto [error, size] = co_await http::async_write_header(stream_, serializer, kAwait);
  stream_.tcp().expires_never();
  bool alive = !error;
  if (alive) {
    alive = co_await SendPieces(completion);
  }
  if (alive) {
    alive = co_await SendEnd(completion);
  }
  if (!alive) {
    co_await Abandon(completion);
  }
  co_return alive;
}

asio::awaitable<bool> Connection::SendPieces(Completion& completion) {
  AnswerFormat& format = *completion.format;
  const AnswerView view = ViewOf(completion, service_);
  chunk_ = format.Begin(view);
  bool alive = co_await WriteChunk();
  while (completion.unfinished > 0 && alive) {
    if (!co_await WaitForPiece(*completion.mailbox)) {
      co_return false;
    }
    const Piece piece = TakePiece(completion, service_.metrics);
    bool is_stored = true;
    if (completion.unfinished == 0 && completion.failure.empty() && !completion.cancelled) {
      is_stored = co_await Commit(completion);
    }
    if (!piece.error.empty()) {
      exchange_.log.error = piece.error;
      chunk_ = format.Broken(Error(500, piece.error, "server_error"));
    } else if (piece.finished && piece.reason == engine::FinishReason::kCancelled) {
      chunk_ = format.Broken(Error(503, "the server is shutting down", "unavailable"));
    } else if (!is_stored) {
      exchange_.log.error = "the usage of this request cannot be stored";
      chunk_ = format.Broken(Error(503, exchange_.log.error, "usage_not_stored"));
    } else {
      chunk_ = format.Next(view, piece);
    }
    alive = co_await WriteChunk();
  }
  co_return alive;
}

std::string Connection::Error(int status, const std::string& message,
                              const std::string& code) const {
  return ErrorBodyFor(exchange_.log.path, status, message, code);
}

asio::awaitable<bool> Connection::SendEnd(Completion& completion) {
  chunk_ = completion.format->End(ViewOf(completion, service_));
  bool alive = co_await WriteChunk();
  if (alive) {
    const auto last = http::make_chunk_last();
    stream_.tcp().expires_after(write_timeout_);
    const auto [error, size] = co_await asio::async_write(stream_, last, kAwait);
    stream_.tcp().expires_never();
    alive = !error;
  }
  co_return alive;
}

asio::awaitable<void> Connection::Abandon(Completion& completion) {
  for (const uint64_t id : completion.generation.ids) {
    service_.scheduler.Cancel(id);
  }
  Mailbox& mailbox = *completion.mailbox;
  while (completion.unfinished > 0) {  // each choice ends at its next turn
    while (mailbox.arrivals.empty()) {
      co_await mailbox.wake.async_wait(kAwait);
    }
    TakePiece(completion, service_.metrics);
  }
  if (completion.failure.empty()) {
    RecordUsage(service_, completion, tenant::Outcome::kCancelled);
  }
  completion.admission.Finish(completion.usage.completion_tokens);
  exchange_.log.error = "the client left";
}

asio::awaitable<bool> Connection::WaitForPiece(Mailbox& mailbox) {
  while (mailbox.arrivals.empty() && !mailbox.peer_gone) {
    co_await mailbox.wake.async_wait(kAwait);
  }
  co_return !mailbox.peer_gone;
}

asio::awaitable<bool> Connection::WriteChunk() {
  if (chunk_.empty()) {  // would be the last chunk
    co_return true;
  }
  const asio::const_buffer payload = asio::buffer(chunk_);
  const auto framed = http::make_chunk(payload);
  stream_.tcp().expires_after(write_timeout_);
  const auto [error, size] = co_await asio::async_write(stream_, framed, kAwait);
  stream_.tcp().expires_never();
  co_return !error;
}

asio::awaitable<bool> Connection::SendReply() {
  http::response<http::string_body> response{static_cast<http::status>(reply_.status),
                                             request_.version()};
  if (reply_.status != 204) {
    response.set(http::field::content_type, reply_.content_type);
  }
  SetHeaders(response);
  exchange_.log.status = reply_.status;
  response.keep_alive(request_.keep_alive());
  if (request_.method() == http::verb::head) {
    response.content_length(reply_.body.size());
  } else {
    response.body() = std::move(reply_.body);
    response.prepare_payload();
  }
  stream_.tcp().expires_after(write_timeout_);
  const auto [error, size] = co_await http::async_write(stream_, response, kAwait);
  stream_.tcp().expires_never();
  co_return !error;
}

template <class Body>
void Connection::SetHeaders(http::response<Body>& response) const {
  response.set("x-request-id", exchange_.log.request_id);
  if (exchange_.log.trace) {
    response.set("traceparent", exchange_.log.trace->Header());
  }
  if (exchange_.log.status == 0 && reply_.status == 401) {
    response.set(http::field::www_authenticate, "Bearer");
  }
  for (const auto& [name, value] : exchange_.headers) {
    response.set(name, value);
  }
  const std::vector<std::string>& origins = service_.options.cors_origins;
  const std::string origin(request_[http::field::origin]);
  const bool is_any = std::ranges::find(origins, "*") != origins.end();
  if (!origin.empty() && (is_any || std::ranges::find(origins, origin) != origins.end())) {
    response.set(http::field::access_control_allow_origin, is_any ? "*" : origin);
    response.set(http::field::access_control_expose_headers,
                 "x-request-id, traceparent, Retry-After, x-ratelimit-limit-requests, "
                 "x-ratelimit-remaining-requests, x-ratelimit-reset-requests, "
                 "x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, "
                 "x-ratelimit-reset-tokens");
  }
  if (!origins.empty()) {
    response.set(http::field::vary, "Origin");
  }
}

}  // namespace

asio::awaitable<void> ServeConnection(Service& service, asio::ip::tcp::socket socket,
                                      std::shared_ptr<asio::ssl::context> tls) {
  Connection connection(service, std::move(socket), std::move(tls));
  co_await connection.Serve();
}

}  // namespace etch::serve
