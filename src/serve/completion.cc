#include "serve/completion.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <variant>

#include "adapter/adapter.h"
#include "serve/error_body.h"
#include "serve/request_log.h"
#include "serve/tool_fields.h"
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

// Adapters and what they are called together.
struct Chosen {
  std::vector<engine::RequestedAdapter> adapters;
  std::vector<std::string> names;  // sorted; none for the base

  std::string name() const { return fmt::format("{}", fmt::join(names, "+")); }
  // Of metrics, whose number it bounds.
  std::string label() const { return names.size() > 1 ? "several" : name(); }
};

// Adds the adapter with llama-server's number `lora.id`.
// Who may not use the base takes adapters whole: at a small scale, or beside its own negative, an
// adapter is as good as none.
Status AddLora(Service& service, const Caller& caller, const ScaledLora& lora, Chosen& out) {
  const std::string name = service.loras.NameOf(lora.id);
  if (!caller.MayUseAdapter(name) || !service.adapters.State(name)) {
    return Fail(ErrorCode::kInvalidArgument,
                "lora: no adapter has the id {}; GET /lora-adapters lists them", lora.id);
  }
  if (!caller.MayUseBase() && lora.scale != 1.0) {
    return Fail(ErrorCode::kInvalidArgument,
                "lora: this key takes adapters whole, with the scale 1, for it has no base");
  }
  ETCH_ASSIGN_OR_RETURN(auto source, service.adapters.Find(name));
  ETCH_ASSIGN_OR_RETURN(const int32_t weight, adapter::ToWeightQ16(lora.scale));
  if (weight != 0) {
    out.adapters.push_back({std::move(source), weight});
    out.names.insert(std::ranges::lower_bound(out.names, name), name);
  }
  return {};
}

// A request's `lora` stands in the place of the adapter that its model names.
Result<Chosen> FindAdapters(Service& service, const Caller& caller,
                            const CompletionRequest& request) {
  const std::string& base = service.adapters.base();
  const std::string& model = request.model.empty() ? base : request.model;
  std::shared_ptr<engine::AdapterSource> source;
  if (model != base) {
    if (!caller.MayUseAdapter(model)) {
      return tl::unexpected(NoSuchModel(model));
    }
    ETCH_ASSIGN_OR_RETURN(source, service.adapters.Find(model));
  }
  Chosen out;
  if (request.lora) {
    for (const ScaledLora& lora : *request.lora) {
      ETCH_TRY(AddLora(service, caller, lora, out));
    }
  } else if (source != nullptr) {
    out = {{{std::move(source)}}, {model}};
  } else if (caller.tenant() == nullptr) {
    for (const auto& [id, scale] : service.loras.Scales()) {
      if (service.adapters.State(service.loras.NameOf(id))) {
        ETCH_TRY(AddLora(service, caller, {id, scale}, out));
      }
    }
  }
  if (out.adapters.empty() && !caller.MayUseBase()) {
    return tl::unexpected(NoSuchModel(base));
  }
  return out;
}

Result<Prompts> EncodePrompts(const Service& service, const CompletionRequest& request) {
  Prompts prompts;
  if (request.is_chat()) {
    if (service.chat_template == nullptr) {
      return Fail(ErrorCode::kUnsupported, "{} has no chat template; use /v1/completions",
                  service.adapters.base());
    }
    const std::string& source = service.engine.image().vocabulary().chat_template;
    if (!request.tools_json.empty() && source.find("tools") == std::string::npos) {
      return Fail(ErrorCode::kUnsupported, "tools: the chat template of {} has no place for them",
                  service.adapters.base());
    }
    ETCH_ASSIGN_OR_RETURN(auto tokens, text::EncodeChat(*service.chat_template, service.tokenizer,
                                                        request.messages, request.tools_json));
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
  Chosen chosen;
  Prompts prompts;
  int64_t prompt_tokens = 0;
  std::shared_ptr<grammar::TokenMasks> masks;  // null: free text
};

// Whether a chat prompt ends in <think>: the answer begins with thoughts.
bool EndsThinking(const std::vector<engine::TokenId>& prompt, const text::Tokenizer& tokenizer) {
  constexpr size_t kTail = 12;
  std::string tail;
  for (size_t at = prompt.size() - std::min(prompt.size(), kTail); at < prompt.size(); ++at) {
    tail += tokenizer.TokenBytes(prompt[at], true);
  }
  tail.erase(tail.find_last_not_of(" \n") + 1);
  return tail.ends_with("<think>");
}

// A call that the request forces, and what JSON the answer must be, behind thoughts that the prompt
// has begun.
void CompleteConstraint(const Service& service, const Prompts& prompts,
                        CompletionRequest& request) {
  if (!request.forced_calls.empty()) {
    request.constraint = ForcedCall(request, service.engine.image().vocabulary().chat_template);
  }
  if (request.constraint && request.is_chat() &&
      (request.constraint->kind == ConstraintSpec::Kind::kJsonObject ||
       request.constraint->kind == ConstraintSpec::Kind::kJsonSchema) &&
      EndsThinking(prompts.front(), service.tokenizer)) {
    request.constraint->prefix = "\n</think>\n\n" + request.constraint->prefix;
  }
}

Result<Prepared> Prepare(Service& service, const Caller& caller, CompletionRequest& request) {
  Prepared out;
  ETCH_ASSIGN_OR_RETURN(out.chosen, FindAdapters(service, caller, request));
  ETCH_ASSIGN_OR_RETURN(out.prompts, EncodePrompts(service, request));
  CompleteConstraint(service, out.prompts, request);
  if (request.constraint) {
    ETCH_ASSIGN_OR_RETURN(out.masks, service.constraints.Find(*request.constraint));
  }
  for (const auto& [token, amount] : request.changes.bias) {
    if (token >= service.engine.image().config().vocab_size) {
      return Fail(ErrorCode::kInvalidArgument, "logit_bias: the vocabulary has no token {}", token);
    }
  }
  const int64_t limit = caller.tenant() != nullptr ? caller.tenant()->limits.context : 0;
  const int64_t context = service.engine.info().context;
  request.context = limit > 0 ? std::min(limit, context) : context;
  if (caller.tenant() != nullptr) {
    request.client = caller.tenant_name();
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
                                                  Result<Ask> ask, const std::string& request_id,
                                                  SteadyTime arrived,
                                                  const asio::any_io_executor& executor) {
  if (!ask) {
    return tl::unexpected(FromError(ask.error()));
  }
  CompletionRequest& request = ask->request;
  Result<Prepared> prepared = Prepare(service, caller, request);
  if (!prepared) {
    return tl::unexpected(FromError(prepared.error()));
  }
  Completion out;
  if (caller.tenant() != nullptr) {
    tenant::Limiter& limiter = service.tenancy->limiter();
    if (const auto refusal = limiter.Admit(*caller.tenant(), prepared->prompt_tokens, Now())) {
      return tl::unexpected(FromRefusal(*refusal));
    }
    out.admission = Admission(limiter, caller.grant.tenant, prepared->prompt_tokens);
  }
  out.adapter = prepared->chosen.name();
  out.mailbox = std::make_shared<Mailbox>(executor);
  const auto presence =
      std::make_shared<Metrics::Presence>(service.metrics, prepared->chosen.label());
  const auto deliver = [mailbox = out.mailbox, presence](Piece piece) {
    if (piece.started) {
      presence->Start();
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
      StartGeneration(request, prepared->prompts, prepared->chosen.adapters, prepared->masks, seed,
                      service.tokenizer, service.scheduler, deliver);
  if (!generation) {
    out.admission.Return();
    return tl::unexpected(FromError(generation.error()));
  }
  out.generation = std::move(*generation);
  out.format = std::move(ask->format);
  out.head = {RandomId(out.format->id_prefix(), 16), tenant::UnixTime(),
              request.model.empty() ? service.adapters.base() : request.model, request.is_chat(),
              request.logprobs};
  if (request.is_chat()) {
    const bool thinking = EndsThinking(prepared->prompts.front(), service.tokenizer);
    out.parts.assign(static_cast<size_t>(out.generation.choices),
                     ReplyParts(request.tool_names, thinking));
  }
  out.stream = request.stream;
  out.usage.prompt_tokens = out.generation.prompt_tokens;
  out.unfinished = out.generation.choices;
  out.arrived = arrived;
  out.last_token.resize(static_cast<size_t>(out.generation.choices));
  if (caller.tenant() != nullptr) {
    out.record = MakeRecord(caller, out, request_id);
  }
  return out;
}

bool IsVisible(const Service& service, const Caller& caller, const std::string& model) {
  if (model.empty() || model == service.adapters.base()) {
    return caller.MayUseBase();
  }
  return caller.MayUseAdapter(model) && service.adapters.State(model).has_value();
}

AnswerView ViewOf(const Completion& completion, const Service& service) {
  return {completion.head, completion.usage, completion.timings, service.tokenizer};
}

Piece TakePiece(Completion& completion, Metrics& metrics) {
  Arrival arrival = std::move(completion.mailbox->arrivals.front());
  completion.mailbox->arrivals.pop_front();
  Piece& piece = arrival.piece;
  completion.usage.completion_tokens += piece.tokens;
  completion.usage.cached_tokens += piece.cached_tokens;
  if (piece.tokens > 0) {
    SteadyTime& last = completion.last_token[static_cast<size_t>(piece.choice)];
    Timings& timings = completion.timings;
    timings.last_token_s = Seconds(completion.arrived, arrival.time);
    if (timings.first_token_s == 0.0) {
      timings.first_token_s = timings.last_token_s;
      metrics.FirstToken(timings.first_token_s, completion.usage.prompt_tokens);
    }
    if (last != SteadyTime()) {
      metrics.NextTokens(Seconds(last, arrival.time));
    }
    last = arrival.time;
    metrics.CountTokens(piece.tokens);
  }
  if (!piece.hidden.empty()) {
    completion.timings.last_token_s = Seconds(completion.arrived, arrival.time);
    if (piece.choice == 0) {
      metrics.CountPrompt(completion.usage.prompt_tokens);
    }
  }
  if (piece.started && completion.timings.started_s == 0.0) {
    completion.timings.started_s = Seconds(completion.arrived, arrival.time);
  }
  if (!completion.parts.empty()) {
    ReplyParts& parts = completion.parts[static_cast<size_t>(piece.choice)];
    ReplyPiece split = parts.Push(piece.text, piece.finished);
    piece.text = std::move(split.content);
    piece.reasoning = std::move(split.reasoning);
    piece.calls = std::move(split.calls);
    piece.made_calls = parts.calls() > 0;
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
