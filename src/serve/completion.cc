#include "serve/completion.h"

#include <boost/asio/post.hpp>
#include <variant>

#include "serve/request_log.h"
#include "tenant/calendar.h"
#include "text/chat_prompt.h"

namespace etch::serve {
namespace {

namespace asio = boost::asio;
using Prompts = std::vector<std::vector<engine::TokenId>>;

double Seconds(SteadyTime from, SteadyTime to) {
  return std::chrono::duration<double>(to - from).count();
}

uint64_t RandomSeed() { return std::stoull(RandomId("", 16), nullptr, 16); }

// The words of a model that does not exist and of one that the caller may not name are the same.
Error NoSuchModel(const std::string& model) {
  return {ErrorCode::kNotFound,
          fmt::format("no model named \"{}\"; GET /v1/models lists them", model)};
}

Result<std::vector<engine::RequestedAdapter>> FindAdapters(Service& service, const Caller& caller,
                                                           const std::string& model) {
  const std::string& base = service.adapters.base();
  if (model.empty() || model == base) {
    if (!caller.MayUseBase()) {
      return tl::unexpected(NoSuchModel(model.empty() ? base : model));
    }
    return std::vector<engine::RequestedAdapter>();
  }
  if (!caller.MayUseAdapter(model)) {
    return tl::unexpected(NoSuchModel(model));
  }
  ETCH_ASSIGN_OR_RETURN(auto source, service.adapters.Find(model));
  return std::vector<engine::RequestedAdapter>{{std::move(source)}};
}

Result<Prompts> EncodePrompts(const Service& service, const CompletionRequest& request) {
  Prompts prompts;
  if (request.is_chat()) {
    if (service.chat_template == nullptr) {
      return Fail(ErrorCode::kUnsupported, "{} has no chat template; use /v1/completions",
                  service.adapters.base());
    }
    ETCH_ASSIGN_OR_RETURN(
        auto tokens, text::EncodeChat(*service.chat_template, service.tokenizer, request.messages));
    prompts.push_back(std::move(tokens));
    return prompts;
  }
  for (const Prompt& prompt : request.prompts) {
    const auto* text = std::get_if<std::string>(&prompt);
    prompts.push_back(text != nullptr ? service.tokenizer.Encode(*text)
                                      : std::get<std::vector<engine::TokenId>>(prompt));
  }
  return prompts;
}

// What a request asks for, found and checked, nothing started.
struct Prepared {
  CompletionRequest request;
  std::vector<engine::RequestedAdapter> adapters;
  Prompts prompts;
  int64_t prompt_tokens = 0;
  std::shared_ptr<grammar::TokenMasks> masks;  // null: free text
};

Result<Prepared> Prepare(Service& service, const Caller& caller, const std::string& body,
                         bool chat) {
  Prepared out;
  ETCH_ASSIGN_OR_RETURN(out.request, chat ? ParseChatRequest(body) : ParseCompletionRequest(body));
  ETCH_ASSIGN_OR_RETURN(out.adapters, FindAdapters(service, caller, out.request.model));
  ETCH_ASSIGN_OR_RETURN(out.prompts, EncodePrompts(service, out.request));
  if (out.request.constraint) {
    ETCH_ASSIGN_OR_RETURN(out.masks, service.constraints.Find(*out.request.constraint));
  }
  const int64_t limit = caller.tenant() != nullptr ? caller.tenant()->limits.context : 0;
  const int64_t context = service.engine.info().context;
  out.request.context = limit > 0 ? std::min(limit, context) : context;
  if (caller.tenant() != nullptr) {
    out.request.client = caller.tenant_name();
  }
  for (const auto& prompt : out.prompts) {
    out.prompt_tokens += std::ssize(prompt);
    if (limit > 0 && limit < context && std::ssize(prompt) >= limit) {
      return Fail(ErrorCode::kContextExceeded,
                  "the prompt has {} tokens, this key's context holds {} with the answer; shorten "
                  "the prompt",
                  prompt.size(), limit);
    }
  }
  return out;
}

Refused FromError(const Error& error) {
  Refused out;
  out.status = HttpStatus(error.code);
  out.message = error.message;
  switch (error.code) {
    case ErrorCode::kContextExceeded:
      out.code = "context_length_exceeded";
      out.reason = "context";
      break;
    case ErrorCode::kNotFound:
      out.code = "model_not_found";
      out.reason = "model_not_found";
      break;
    case ErrorCode::kUnavailable:
      out.code = "unavailable";
      out.reason = "queue_full";
      out.retry_after_s = 1;
      break;
    default:
      out.code = std::string(ErrorCodeName(error.code));
      out.reason = out.status < 500 ? "invalid" : "failed";
  }
  return out;
}

Refused FromRefusal(const tenant::Refusal& refusal) {
  Refused out;
  out.status = refusal.retry_after_s > 0 ? 429 : 400;
  out.message = refusal.message;
  out.code = refusal.reason == tenant::RefusalReason::kMonth ? "insufficient_quota"
                                                             : "rate_limit_exceeded";
  out.reason = tenant::RefusalName(refusal.reason);
  out.retry_after_s = refusal.retry_after_s;
  return out;
}

tenant::UsageRecord MakeRecord(const Caller& caller, const Completion& completion,
                               const std::string& request_id) {
  tenant::UsageRecord record;
  record.answer_id = completion.head.id;
  record.request_id = request_id;
  record.tenant_id = caller.tenant()->id;
  record.key_prefix = caller.grant.key_prefix;
  record.adapter = completion.adapter;
  record.prices = caller.tenant()->prices;
  return record;
}

}  // namespace

tl::expected<Completion, Refused> StartCompletion(Service& service, const Caller& caller,
                                                  const std::string& body, bool chat,
                                                  const std::string& request_id, SteadyTime arrived,
                                                  const asio::any_io_executor& executor) {
  Result<Prepared> prepared = Prepare(service, caller, body, chat);
  if (!prepared) {
    return tl::unexpected(FromError(prepared.error()));
  }
  const CompletionRequest& request = prepared->request;
  Completion out;
  if (caller.tenant() != nullptr) {
    tenant::Limiter& limiter = service.tenancy->limiter();
    if (const auto refusal = limiter.Admit(*caller.tenant(), prepared->prompt_tokens, Now())) {
      return tl::unexpected(FromRefusal(*refusal));
    }
    out.admission = Admission(limiter, caller.grant.tenant, prepared->prompt_tokens);
  }
  out.adapter = prepared->adapters.empty() ? "" : request.model;
  out.mailbox = std::make_shared<Mailbox>(executor);
  const auto presence = std::make_shared<Metrics::Presence>(service.metrics, out.adapter);
  const auto deliver = [mailbox = out.mailbox, presence](Piece piece) {
    if (piece.started) {
      presence->Start();
      if (piece.cached_tokens == 0) {
        return;
      }
    }
    asio::post(
        mailbox->executor,
        [mailbox, arrival = Arrival{std::move(piece), std::chrono::steady_clock::now()}]() mutable {
          mailbox->arrivals.push_back(std::move(arrival));
          mailbox->wake.cancel();
        });
  };
  const uint64_t seed = request.has_seed ? request.sampling.seed : RandomSeed();
  Result<Generation> generation =
      StartGeneration(request, prepared->prompts, prepared->adapters, prepared->masks, seed,
                      service.tokenizer, service.scheduler, deliver);
  if (!generation) {
    out.admission.Return();
    return tl::unexpected(FromError(generation.error()));
  }
  out.generation = std::move(*generation);
  out.head = {RandomId(chat ? "chatcmpl-" : "cmpl-", 16), tenant::UnixTime(),
              request.model.empty() ? service.adapters.base() : request.model, chat,
              request.logprobs};
  out.stream = request.stream;
  out.include_usage = request.include_usage;
  out.usage.prompt_tokens = out.generation.prompt_tokens;
  out.unfinished = out.generation.choices;
  out.arrived = arrived;
  out.last_token.resize(static_cast<size_t>(out.generation.choices));
  if (caller.tenant() != nullptr) {
    out.record = MakeRecord(caller, out, request_id);
  }
  return out;
}

Piece TakePiece(Completion& completion, Metrics& metrics) {
  Arrival arrival = std::move(completion.mailbox->arrivals.front());
  completion.mailbox->arrivals.pop_front();
  Piece& piece = arrival.piece;
  completion.usage.completion_tokens += piece.tokens;
  completion.usage.cached_tokens += piece.cached_tokens;
  if (piece.tokens > 0) {
    SteadyTime& last = completion.last_token[static_cast<size_t>(piece.choice)];
    if (completion.first_token_s == 0.0) {
      completion.first_token_s = Seconds(completion.arrived, arrival.time);
      metrics.FirstToken(completion.first_token_s, completion.usage.prompt_tokens);
    }
    if (last != SteadyTime()) {
      metrics.NextTokens(Seconds(last, arrival.time));
    }
    last = arrival.time;
    metrics.CountTokens(piece.tokens);
  }
  if (piece.finished) {
    --completion.unfinished;
    completion.cancelled = completion.cancelled || piece.reason == engine::FinishReason::kCancelled;
    if (!piece.error.empty()) {
      completion.failure = piece.error;
    }
    const bool is_whole = piece.reason == engine::FinishReason::kStop ||
                          piece.reason == engine::FinishReason::kLength;
    completion.finish = is_whole                                        ? FinishName(piece.reason)
                        : piece.reason == engine::FinishReason::kFailed ? "error"
                                                                        : "abort";
    metrics.Finished(completion.finish);
  }
  return std::move(piece);
}

bool RecordUsage(Service& service, Completion& completion, tenant::Outcome outcome) {
  if (!completion.record) {
    return false;
  }
  tenant::UsageRecord record = std::move(*completion.record);
  completion.record.reset();
  record.time = tenant::UnixTime();
  record.outcome = outcome;
  record.prompt_tokens = completion.usage.prompt_tokens;
  record.completion_tokens = completion.usage.completion_tokens;
  record.cached_tokens = completion.usage.cached_tokens;
  service.tenancy->meter().Record(
      std::move(record), [mailbox = completion.mailbox](const Status& status) {
        asio::post(mailbox->executor, [mailbox, is_stored = status.has_value()] {
          mailbox->recorded = is_stored;
          mailbox->wake.cancel();
        });
      });
  return true;
}

}  // namespace etch::serve
