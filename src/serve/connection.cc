// Requests of one connection are answered one after the other. A completion is started on the
// scheduler, whose thread posts pieces of text to this connection's strand; the coroutine sleeps on
// a timer that each piece wakes. When a write fails the peer has gone, and the completion is
// cancelled.

#include "serve/connection.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <deque>
#include <optional>
#include <random>

#include "serve/generation.h"
#include "serve/request.h"
#include "serve/response.h"
#include "text/chat_prompt.h"

namespace etch::serve {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using HttpRequest = http::request<http::string_body>;
constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr std::chrono::seconds kWriteTimeout{60};

// Compares without telling by its time where the strings differ.
bool EqualInConstantTime(std::string_view given, std::string_view key) {
  size_t difference = given.size() ^ key.size();
  for (size_t at = 0; at < given.size(); ++at) {
    const char other = key.empty() ? '\0' : key[at % key.size()];
    difference |= static_cast<unsigned char>(given[at] ^ other);
  }
  return difference == 0;
}

uint64_t RandomSeed() {
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

int64_t UnixTime() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

// Pieces on their way from the scheduler's thread to the connection's strand. Shared by both: the
// scheduler may outlive the connection.
struct Mailbox {
  explicit Mailbox(const asio::any_io_executor& executor_in)
      : executor(executor_in), wake(executor_in) {
    wake.expires_at(asio::steady_timer::time_point::max());
  }

  asio::any_io_executor executor;
  asio::steady_timer wake;  // touched on the strand only, as is `pieces`
  std::deque<Piece> pieces;
};

Piece TakePiece(Mailbox& mailbox) {
  Piece piece = std::move(mailbox.pieces.front());
  mailbox.pieces.pop_front();
  return piece;
}

// A whole answer: HTTP status and JSON body.
struct Reply {
  int status = 200;
  std::string body;
};

Reply ErrorReply(int status, const std::string& message, const std::string& code) {
  return {status, ErrorBody(status, message, code)};
}

// A completion under way.
struct Running {
  AnswerHead head;
  Generation generation;
  std::shared_ptr<Mailbox> mailbox;
  bool stream = false;
  bool include_usage = false;
};

// The coroutines below hold no temporaries across a co_await: what is sent stands in members (GCC
// 12 destroys some temporaries of such expressions twice).
class Connection {
 public:
  Connection(Service& service, asio::ip::tcp::socket socket)
      : service_(service), stream_(std::move(socket)) {}

  asio::awaitable<void> Serve();

 private:
  // Reads one request into request_. False when there is none: the peer left, or reply_ says what
  // was wrong.
  asio::awaitable<bool> ReadRequest();
  asio::awaitable<bool> AnswerWhole(Running& running);
  asio::awaitable<bool> AnswerStream(Running& running);
  asio::awaitable<void> WaitForPiece(Mailbox& mailbox);
  // Sends reply_; writes chunk_ as one event. False when the peer has gone.
  asio::awaitable<bool> SendReply();
  asio::awaitable<bool> WriteChunk();

  // Answers request_ into reply_, or starts a completion.
  std::optional<Running> Route();
  Reply GetReply(const std::string& target) const;
  Result<Running> StartCompletion(bool chat);
  bool Authorized() const;
  Result<std::vector<engine::RequestedAdapter>> Adapters(const std::string& model) const;
  Result<std::vector<std::vector<engine::TokenId>>> Prompts(const CompletionRequest& request) const;
  std::string HealthBody() const;
  void Cancel(const Generation& generation);

  Service& service_;
  beast::tcp_stream stream_;
  beast::flat_buffer buffer_;
  HttpRequest request_;
  Reply reply_;
  std::string chunk_;
};

asio::awaitable<void> Connection::Serve() {
  bool alive = true;
  while (alive) {
    reply_ = {0, ""};
    if (!co_await ReadRequest()) {
      if (reply_.status != 0) {
        co_await SendReply();
      }
      break;
    }
    std::optional<Running> running = Route();
    if (!running) {
      alive = co_await SendReply();
    } else if (running->stream) {
      alive = co_await AnswerStream(*running);
    } else {
      alive = co_await AnswerWhole(*running);
    }
    alive = alive && request_.keep_alive();
  }
  beast::error_code ignored;
  stream_.socket().shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
}

asio::awaitable<bool> Connection::ReadRequest() {
  http::request_parser<http::string_body> parser;
  parser.body_limit(service_.options.max_body_bytes);
  parser.header_limit(16 << 10);
  const auto idle_ms = static_cast<int64_t>(service_.options.idle_timeout_s * 1000.0);
  stream_.expires_after(std::chrono::milliseconds(idle_ms));
  const auto [error, size] = co_await http::async_read(stream_, buffer_, parser, kAwait);
  stream_.expires_never();
  if (!error) {
    request_ = parser.release();
    co_return true;
  }
  request_ = {};
  request_.version(11);
  request_.keep_alive(false);
  if (error == http::error::body_limit) {
    reply_ = ErrorReply(413, "the body is larger than the server takes", "too_large");
  } else if (error != http::error::end_of_stream && error != http::error::partial_message &&
             error.category() == make_error_code(http::error::bad_method).category()) {
    reply_ = ErrorReply(400, "not a request that HTTP/1.1 allows: " + error.message(), "malformed");
  }
  co_return false;
}

std::optional<Running> Connection::Route() {
  std::string target(request_.target());
  target = target.substr(0, target.find('?'));
  const bool is_get = request_.method() == http::verb::get;
  if (is_get && (target == "/health" || target == "/v1/health")) {
    reply_ = {200, HealthBody()};
    return std::nullopt;
  }
  if (!Authorized()) {
    reply_ =
        ErrorReply(401, "a valid API key is needed: Authorization: Bearer KEY", "invalid_api_key");
    return std::nullopt;
  }
  const bool chat = target == "/v1/chat/completions";
  if (!chat && target != "/v1/completions") {
    reply_ = is_get ? GetReply(target) : ErrorReply(404, "no route " + target, "not_found");
    return std::nullopt;
  }
  if (request_.method() != http::verb::post) {
    reply_ = ErrorReply(405, target + " takes POST", "method_not_allowed");
    return std::nullopt;
  }
  Result<Running> running = StartCompletion(chat);
  if (!running) {
    const Error& error = running.error();
    reply_ =
        ErrorReply(HttpStatus(error.code), error.message,
                   error.code == ErrorCode::kContextExceeded ? "context_length_exceeded"
                   : error.code == ErrorCode::kNotFound      ? "model_not_found"
                                                        : std::string(ErrorCodeName(error.code)));
    return std::nullopt;
  }
  return std::move(*running);
}

Reply Connection::GetReply(const std::string& target) const {
  const AdapterRegistry& adapters = service_.adapters;
  const int64_t context = service_.engine.info().context;
  constexpr std::string_view kModels = "/v1/models";
  if (target == kModels) {
    return {200, ModelsBody(adapters.base(), adapters.States(), service_.started, context)};
  }
  if (!target.starts_with("/v1/models/")) {
    return ErrorReply(404, "no route " + target, "not_found");
  }
  const std::string id = target.substr(kModels.size() + 1);
  if (id == adapters.base()) {
    return {200, ModelBody(id, service_.started, context)};
  }
  if (const std::optional<AdapterState> state = adapters.State(id)) {
    return {200, AdapterBody(*state, adapters.base(), service_.started, context)};
  }
  return ErrorReply(404, "no model named \"" + id + "\"; GET /v1/models lists them",
                    "model_not_found");
}

Result<Running> Connection::StartCompletion(bool chat) {
  ETCH_ASSIGN_OR_RETURN(
      const CompletionRequest request,
      chat ? ParseChatRequest(request_.body()) : ParseCompletionRequest(request_.body()));
  ETCH_ASSIGN_OR_RETURN(const auto adapters, Adapters(request.model));
  ETCH_ASSIGN_OR_RETURN(const auto prompts, Prompts(request));
  Running running;
  running.mailbox = std::make_shared<Mailbox>(stream_.get_executor());
  const auto deliver = [mailbox = running.mailbox](Piece piece) {
    asio::post(mailbox->executor, [mailbox, piece = std::move(piece)]() mutable {
      mailbox->pieces.push_back(std::move(piece));
      mailbox->wake.cancel();
    });
  };
  const uint64_t seed = request.has_seed ? request.sampling.seed : RandomSeed();
  ETCH_ASSIGN_OR_RETURN(running.generation,
                        StartGeneration(request, prompts, adapters, seed, service_.tokenizer,
                                        service_.scheduler, deliver));
  running.head.id = fmt::format("{}-{:016x}", chat ? "chatcmpl" : "cmpl", RandomSeed());
  running.head.created = UnixTime();
  running.head.model = request.model.empty() ? service_.adapters.base() : request.model;
  running.head.is_chat = chat;
  running.head.logprobs = request.logprobs;
  running.stream = request.stream;
  running.include_usage = request.include_usage;
  return running;
}

asio::awaitable<bool> Connection::AnswerWhole(Running& running) {
  std::vector<ChoiceState> choices(static_cast<size_t>(running.generation.choices));
  Usage usage{running.generation.prompt_tokens, 0};
  std::string failure;
  bool cancelled = false;
  for (int64_t left = running.generation.choices; left > 0;) {
    co_await WaitForPiece(*running.mailbox);
    const Piece piece = TakePiece(*running.mailbox);
    ChoiceState& choice = choices[static_cast<size_t>(piece.choice)];
    choice.text += piece.text;
    choice.details.insert(choice.details.end(), piece.details.begin(), piece.details.end());
    usage.completion_tokens += piece.tokens;
    usage.cached_tokens += piece.cached_tokens;
    if (piece.finished) {
      choice.reason = piece.reason;
      cancelled = cancelled || piece.reason == engine::FinishReason::kCancelled;
      if (!piece.error.empty()) {
        failure = piece.error;
      }
      --left;
    }
  }
  if (!failure.empty()) {
    reply_ = ErrorReply(500, failure, "server_error");
  } else if (cancelled) {
    reply_ = ErrorReply(503, "the server is shutting down", "unavailable");
  } else {
    reply_ = {200, AnswerBody(running.head, choices, usage, service_.tokenizer)};
  }
  co_return co_await SendReply();
}

asio::awaitable<bool> Connection::AnswerStream(Running& running) {
  http::response<http::empty_body> response{http::status::ok, request_.version()};
  response.set(http::field::content_type, "text/event-stream");
  response.set(http::field::cache_control, "no-cache");
  response.keep_alive(request_.keep_alive());
  response.chunked(true);
  http::response_serializer<http::empty_body> serializer{response};
  stream_.expires_after(kWriteTimeout);
  const auto [error, size] = co_await http::async_write_header(stream_, serializer, kAwait);
  stream_.expires_never();
  bool alive = !error;
  Usage usage{running.generation.prompt_tokens, 0};
  std::vector<bool> begun(static_cast<size_t>(running.generation.choices), false);
  for (int64_t left = running.generation.choices; left > 0 && alive;) {
    co_await WaitForPiece(*running.mailbox);
    const Piece piece = TakePiece(*running.mailbox);
    usage.completion_tokens += piece.tokens;
    usage.cached_tokens += piece.cached_tokens;
    left -= piece.finished ? 1 : 0;
    const auto choice = static_cast<size_t>(piece.choice);
    if (!piece.error.empty()) {
      chunk_ = ErrorBody(500, piece.error, "server_error");
    } else if (piece.finished && piece.reason == engine::FinishReason::kCancelled) {
      chunk_ = ErrorBody(503, "the server is shutting down", "unavailable");
    } else if (!piece.text.empty() || piece.finished || !piece.details.empty()) {
      chunk_ = ChunkBody(running.head, piece, !begun[choice], service_.tokenizer);
      begun[choice] = true;
    } else {
      continue;
    }
    alive = co_await WriteChunk();
  }
  if (alive && running.include_usage) {
    chunk_ = UsageChunkBody(running.head, usage);
    alive = co_await WriteChunk();
  }
  if (alive) {
    chunk_ = "[DONE]";
    alive = co_await WriteChunk();
  }
  if (alive) {
    const auto last = http::make_chunk_last();
    stream_.expires_after(kWriteTimeout);
    const auto [last_error, last_size] = co_await asio::async_write(stream_, last, kAwait);
    stream_.expires_never();
    alive = !last_error;
  }
  if (!alive) {
    Cancel(running.generation);
  }
  co_return alive;
}

asio::awaitable<void> Connection::WaitForPiece(Mailbox& mailbox) {
  while (mailbox.pieces.empty()) {
    co_await mailbox.wake.async_wait(kAwait);
  }
}

asio::awaitable<bool> Connection::WriteChunk() {
  chunk_ = "data: " + chunk_ + "\n\n";
  const asio::const_buffer payload = asio::buffer(chunk_);
  const auto framed = http::make_chunk(payload);
  stream_.expires_after(kWriteTimeout);
  const auto [error, size] = co_await asio::async_write(stream_, framed, kAwait);
  stream_.expires_never();
  co_return !error;
}

asio::awaitable<bool> Connection::SendReply() {
  http::response<http::string_body> response{static_cast<http::status>(reply_.status),
                                             request_.version()};
  response.set(http::field::content_type, "application/json");
  response.keep_alive(request_.keep_alive());
  response.body() = std::move(reply_.body);
  response.prepare_payload();
  stream_.expires_after(kWriteTimeout);
  const auto [error, size] = co_await http::async_write(stream_, response, kAwait);
  stream_.expires_never();
  co_return !error;
}

bool Connection::Authorized() const {
  const std::vector<std::string>& keys = service_.options.api_keys;
  if (keys.empty()) {
    return true;
  }
  const std::string_view header = request_[http::field::authorization];
  constexpr std::string_view kScheme = "Bearer ";
  const std::string_view given =
      header.starts_with(kScheme) ? header.substr(kScheme.size()) : std::string_view();
  bool known = false;
  for (const std::string& key : keys) {
    known = EqualInConstantTime(given, key) || known;
  }
  return known;
}

Result<std::vector<engine::RequestedAdapter>> Connection::Adapters(const std::string& model) const {
  if (model.empty() || model == service_.adapters.base()) {
    return std::vector<engine::RequestedAdapter>();
  }
  ETCH_ASSIGN_OR_RETURN(auto source, service_.adapters.Find(model));
  return std::vector<engine::RequestedAdapter>{{std::move(source)}};
}

Result<std::vector<std::vector<engine::TokenId>>> Connection::Prompts(
    const CompletionRequest& request) const {
  std::vector<std::vector<engine::TokenId>> prompts;
  if (request.is_chat()) {
    if (service_.chat_template == nullptr) {
      return Fail(ErrorCode::kUnsupported, "{} has no chat template; use /v1/completions",
                  service_.adapters.base());
    }
    ETCH_ASSIGN_OR_RETURN(auto tokens, text::EncodeChat(*service_.chat_template, service_.tokenizer,
                                                        request.messages));
    prompts.push_back(std::move(tokens));
    return prompts;
  }
  for (const Prompt& prompt : request.prompts) {
    const auto* text = std::get_if<std::string>(&prompt);
    prompts.push_back(text != nullptr ? service_.tokenizer.Encode(*text)
                                      : std::get<std::vector<engine::TokenId>>(prompt));
  }
  return prompts;
}

std::string Connection::HealthBody() const {
  const engine::SchedulerStatus status = service_.scheduler.status();
  return fmt::format(R"({{"status":"ok","running":{},"queue_size":{},"adapters":{}}})",
                     status.running, status.waiting, service_.adapters.counts().known);
}

void Connection::Cancel(const Generation& generation) {
  for (const uint64_t id : generation.ids) {
    service_.scheduler.Cancel(id);
  }
}

}  // namespace

asio::awaitable<void> ServeConnection(Service& service, asio::ip::tcp::socket socket) {
  Connection connection(service, std::move(socket));
  co_await connection.Serve();
}

}  // namespace etch::serve
