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
#include <random>

#include "adapter/adapter.h"
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

class Connection {
 public:
  Connection(Service& service, asio::ip::tcp::socket socket)
      : service_(service), stream_(std::move(socket)) {}

  asio::awaitable<void> Serve();

 private:
  asio::awaitable<bool> Handle();
  asio::awaitable<bool> Complete(bool chat);
  asio::awaitable<bool> AnswerWhole(const AnswerHead& head, Generation generation,
                                    std::shared_ptr<Mailbox> mailbox);
  asio::awaitable<bool> AnswerStream(const AnswerHead& head, bool include_usage,
                                     Generation generation, std::shared_ptr<Mailbox> mailbox);
  asio::awaitable<Piece> NextPiece(Mailbox& mailbox);
  asio::awaitable<bool> WriteChunk(std::string data);

  asio::awaitable<bool> Send(int status, std::string body);
  asio::awaitable<bool> SendError(int status, const std::string& message, const std::string& code);
  asio::awaitable<bool> SendError(const Error& error) {
    return SendError(HttpStatus(error.code), error.message, std::string(ErrorCodeName(error.code)));
  }

  bool Authorized() const;
  Result<std::vector<engine::ActiveAdapter>> Adapters(const std::string& model) const;
  Result<std::vector<std::vector<engine::TokenId>>> Prompts(const CompletionRequest& request) const;
  std::string HealthBody() const;
  void Cancel(const Generation& generation);

  Service& service_;
  beast::tcp_stream stream_;
  beast::flat_buffer buffer_;
  HttpRequest request_;
};

asio::awaitable<void> Connection::Serve() {
  while (true) {
    http::request_parser<http::string_body> parser;
    parser.body_limit(service_.options.max_body_bytes);
    parser.header_limit(16 << 10);
    stream_.expires_after(
        std::chrono::milliseconds(static_cast<int64_t>(service_.options.idle_timeout_s * 1000.0)));
    const auto [error, size] = co_await http::async_read(stream_, buffer_, parser, kAwait);
    if (error == http::error::body_limit) {
      request_ = parser.release();
      request_.keep_alive(false);
      co_await SendError(413, "the body is larger than the server takes", "too_large");
      break;
    }
    if (error) {
      const bool protocol =
          error.category() == http::make_error_code(http::error::bad_method).category() &&
          error != http::error::end_of_stream && error != http::error::partial_message;
      if (protocol) {
        request_ = {};
        request_.keep_alive(false);
        co_await SendError(400, "not a request that HTTP/1.1 allows: " + error.message(),
                           "malformed");
      }
      break;
    }
    request_ = parser.release();
    stream_.expires_never();
    if (!co_await Handle() || !request_.keep_alive()) {
      break;
    }
  }
  beast::error_code ignored;
  stream_.socket().shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
}

// Routes one request. False when the connection is of no more use.
asio::awaitable<bool> Connection::Handle() {
  std::string target(request_.target());
  target = target.substr(0, target.find('?'));
  const bool is_get = request_.method() == http::verb::get;
  if (is_get && (target == "/health" || target == "/v1/health")) {
    co_return co_await Send(200, HealthBody());
  }
  if (!Authorized()) {
    co_return co_await SendError(401, "a valid API key is needed: Authorization: Bearer KEY",
                                 "invalid_api_key");
  }
  const AdapterRegistry& adapters = service_.adapters;
  const int64_t context = service_.engine.info().context;
  constexpr std::string_view kModels = "/v1/models";
  if (is_get && target == kModels) {
    co_return co_await Send(
        200, ModelsBody(adapters.base(), adapters.Names(), service_.started, context));
  }
  if (is_get && target.starts_with("/v1/models/")) {
    const std::string id = target.substr(kModels.size() + 1);
    if (id == adapters.base() || adapters.Find(id) != nullptr) {
      co_return co_await Send(200, ModelBody(id, id == adapters.base() ? "" : adapters.base(),
                                             service_.started, context));
    }
    co_return co_await SendError(404, "no model named \"" + id + "\"; GET /v1/models lists them",
                                 "model_not_found");
  }
  const bool chat = target == "/v1/chat/completions";
  if (chat || target == "/v1/completions") {
    if (request_.method() == http::verb::post) {
      co_return co_await Complete(chat);
    }
    co_return co_await SendError(405, target + " takes POST", "method_not_allowed");
  }
  co_return co_await SendError(404, "no route " + target, "not_found");
}

asio::awaitable<bool> Connection::Complete(bool chat) {
  const Result<CompletionRequest> request =
      chat ? ParseChatRequest(request_.body()) : ParseCompletionRequest(request_.body());
  if (!request) {
    co_return co_await SendError(request.error());
  }
  const auto adapters = Adapters(request->model);
  if (!adapters) {
    co_return co_await SendError(404, adapters.error().message, "model_not_found");
  }
  const auto prompts = Prompts(*request);
  if (!prompts) {
    co_return co_await SendError(prompts.error());
  }
  auto mailbox = std::make_shared<Mailbox>(stream_.get_executor());
  const auto deliver = [mailbox](Piece piece) {
    asio::post(mailbox->executor, [mailbox, piece = std::move(piece)]() mutable {
      mailbox->pieces.push_back(std::move(piece));
      mailbox->wake.cancel();
    });
  };
  Result<Generation> generation = StartGeneration(
      *request, *prompts, *adapters, request->has_seed ? request->sampling.seed : RandomSeed(),
      service_.tokenizer, service_.scheduler, deliver);
  if (!generation) {
    const bool too_long = generation.error().code == ErrorCode::kContextExceeded;
    co_return co_await SendError(
        HttpStatus(generation.error().code), generation.error().message,
        too_long ? "context_length_exceeded" : std::string(ErrorCodeName(generation.error().code)));
  }
  const AnswerHead head{
      fmt::format("{}-{:016x}", chat ? "chatcmpl" : "cmpl", RandomSeed()), UnixTime(),
      request->model.empty() ? service_.adapters.base() : request->model, chat, request->logprobs};
  if (request->stream) {
    co_return co_await AnswerStream(head, request->include_usage, std::move(*generation), mailbox);
  }
  co_return co_await AnswerWhole(head, std::move(*generation), mailbox);
}

asio::awaitable<bool> Connection::AnswerWhole(const AnswerHead& head, Generation generation,
                                              std::shared_ptr<Mailbox> mailbox) {
  std::vector<ChoiceState> choices(static_cast<size_t>(generation.choices));
  Usage usage{generation.prompt_tokens, 0};
  std::string failure;
  bool cancelled = false;
  for (int64_t left = generation.choices; left > 0;) {
    Piece piece = co_await NextPiece(*mailbox);
    ChoiceState& choice = choices[static_cast<size_t>(piece.choice)];
    choice.text += piece.text;
    choice.details.insert(choice.details.end(), piece.details.begin(), piece.details.end());
    usage.completion_tokens += piece.tokens;
    if (piece.finished) {
      choice.reason = piece.reason;
      cancelled = cancelled || piece.reason == engine::FinishReason::kCancelled;
      failure = piece.error.empty() ? failure : piece.error;
      --left;
    }
  }
  if (!failure.empty()) {
    co_return co_await SendError(500, failure, "server_error");
  }
  if (cancelled) {
    co_return co_await SendError(503, "the server is shutting down", "unavailable");
  }
  co_return co_await Send(200, AnswerBody(head, choices, usage, service_.tokenizer));
}

asio::awaitable<bool> Connection::AnswerStream(const AnswerHead& head, bool include_usage,
                                               Generation generation,
                                               std::shared_ptr<Mailbox> mailbox) {
  http::response<http::empty_body> response{http::status::ok, request_.version()};
  response.set(http::field::content_type, "text/event-stream");
  response.set(http::field::cache_control, "no-cache");
  response.keep_alive(request_.keep_alive());
  response.chunked(true);
  http::response_serializer<http::empty_body> serializer{response};
  const auto [error, size] = co_await http::async_write_header(stream_, serializer, kAwait);
  bool alive = !error;
  Usage usage{generation.prompt_tokens, 0};
  std::vector<bool> begun(static_cast<size_t>(generation.choices), false);
  for (int64_t left = generation.choices; left > 0 && alive;) {
    const Piece piece = co_await NextPiece(*mailbox);
    usage.completion_tokens += piece.tokens;
    left -= piece.finished ? 1 : 0;
    if (!piece.error.empty()) {
      alive = co_await WriteChunk(ErrorBody(500, piece.error, "server_error"));
      continue;
    }
    const auto choice = static_cast<size_t>(piece.choice);
    if (!piece.text.empty() || piece.finished || !piece.details.empty()) {
      alive = co_await WriteChunk(ChunkBody(head, piece, !begun[choice], service_.tokenizer));
      begun[choice] = true;
    }
  }
  if (alive && include_usage) {
    alive = co_await WriteChunk(UsageChunkBody(head, usage));
  }
  if (alive) {
    alive = co_await WriteChunk("[DONE]");
  }
  if (alive) {
    const auto [last_error, last_size] =
        co_await asio::async_write(stream_, http::make_chunk_last(), kAwait);
    alive = !last_error;
  }
  if (!alive) {
    Cancel(generation);
  }
  co_return alive;
}

asio::awaitable<Piece> Connection::NextPiece(Mailbox& mailbox) {
  while (mailbox.pieces.empty()) {
    co_await mailbox.wake.async_wait(kAwait);
  }
  Piece piece = std::move(mailbox.pieces.front());
  mailbox.pieces.pop_front();
  co_return piece;
}

asio::awaitable<bool> Connection::WriteChunk(std::string data) {
  const std::string event = "data: " + data + "\n\n";
  stream_.expires_after(std::chrono::seconds(60));
  const auto [error, size] =
      co_await asio::async_write(stream_, http::make_chunk(asio::buffer(event)), kAwait);
  stream_.expires_never();
  co_return !error;
}

asio::awaitable<bool> Connection::Send(int status, std::string body) {
  http::response<http::string_body> response{static_cast<http::status>(status),
                                             request_.version() == 0 ? 11 : request_.version()};
  response.set(http::field::content_type, "application/json");
  response.keep_alive(request_.keep_alive());
  response.body() = std::move(body);
  response.prepare_payload();
  stream_.expires_after(std::chrono::seconds(60));
  const auto [error, size] = co_await http::async_write(stream_, response, kAwait);
  stream_.expires_never();
  co_return !error;
}

asio::awaitable<bool> Connection::SendError(int status, const std::string& message,
                                            const std::string& code) {
  return Send(status, ErrorBody(status, message, code));
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

Result<std::vector<engine::ActiveAdapter>> Connection::Adapters(const std::string& model) const {
  if (model.empty() || model == service_.adapters.base()) {
    return std::vector<engine::ActiveAdapter>();
  }
  auto weights = service_.adapters.Find(model);
  if (weights == nullptr) {
    return Fail(ErrorCode::kNotFound, "no model named \"{}\"; GET /v1/models lists them", model);
  }
  return std::vector<engine::ActiveAdapter>{{std::move(weights)}};
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
                     status.running, status.waiting, service_.adapters.Names().size());
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
