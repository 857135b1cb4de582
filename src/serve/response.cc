#include "serve/response.h"

#include <nlohmann/json.hpp>

namespace etch::serve {
namespace {

using Json = nlohmann::ordered_json;

std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Json ByteList(const std::string& text) {
  Json bytes = Json::array();
  for (const char character : text) {
    bytes.push_back(static_cast<unsigned char>(character));
  }
  return bytes;
}

// {"content": [{token, logprob, bytes, top_logprobs}]}
Json ChatLogprobs(const std::vector<TokenDetail>& details, const text::Tokenizer& tokenizer) {
  const auto entry = [&](engine::TokenId token, double logprob) {
    const std::string text = tokenizer.TokenBytes(token, true);
    return Json{{"token", text}, {"logprob", logprob}, {"bytes", ByteList(text)}};
  };
  Json content = Json::array();
  for (const TokenDetail& detail : details) {
    Json item = entry(detail.token, detail.logprob);
    item["top_logprobs"] = Json::array();
    for (const engine::TokenLogprob& top : detail.top) {
      item["top_logprobs"].push_back(entry(top.token, top.logprob));
    }
    content.push_back(std::move(item));
  }
  return {{"content", std::move(content)}, {"refusal", nullptr}};
}

// {tokens, token_logprobs, top_logprobs, text_offset}
Json CompletionLogprobs(const std::vector<TokenDetail>& details, const text::Tokenizer& tokenizer) {
  Json out = {{"tokens", Json::array()},
              {"token_logprobs", Json::array()},
              {"top_logprobs", Json::array()},
              {"text_offset", Json::array()}};
  size_t offset = 0;
  for (const TokenDetail& detail : details) {
    const std::string text = tokenizer.TokenBytes(detail.token, true);
    out["tokens"].push_back(text);
    out["token_logprobs"].push_back(detail.logprob);
    Json top = Json::object();
    for (const engine::TokenLogprob& item : detail.top) {
      top[tokenizer.TokenBytes(item.token, true)] = item.logprob;
    }
    out["top_logprobs"].push_back(std::move(top));
    out["text_offset"].push_back(offset);
    offset += text.size();
  }
  return out;
}

Json Logprobs(const AnswerHead& head, const std::vector<TokenDetail>& details,
              const text::Tokenizer& tokenizer) {
  if (!head.logprobs) {
    return nullptr;
  }
  return head.is_chat ? ChatLogprobs(details, tokenizer) : CompletionLogprobs(details, tokenizer);
}

Json UsageJson(const Usage& usage) {
  return {{"prompt_tokens", usage.prompt_tokens},
          {"completion_tokens", usage.completion_tokens},
          {"total_tokens", usage.prompt_tokens + usage.completion_tokens},
          {"prompt_tokens_details", {{"cached_tokens", usage.cached_tokens}}}};
}

Json CallJson(const ToolCall& call) {
  return {{"id", call.id},
          {"type", "function"},
          {"function", {{"name", call.name}, {"arguments", call.arguments}}}};
}

Json MessageJson(const ChoiceState& state) {
  Json message = {{"role", "assistant"}, {"content", state.text}, {"refusal", nullptr}};
  if (!state.reasoning.empty()) {
    message["reasoning_content"] = state.reasoning;
  }
  if (!state.calls.empty()) {
    if (state.text.empty()) {
      message["content"] = nullptr;
    }
    for (const ToolCall& call : state.calls) {
      message["tool_calls"].push_back(CallJson(call));
    }
  }
  return message;
}

Json HeadJson(const AnswerHead& head, bool chunk) {
  const char* object = !head.is_chat ? "text_completion"
                       : chunk       ? "chat.completion.chunk"
                                     : "chat.completion";
  return {{"id", head.id}, {"object", object}, {"created", head.created}, {"model", head.model}};
}

Json ModelJson(const std::string& id, const std::string& parent, int64_t created, int64_t context) {
  Json json = {{"id", id},
               {"object", "model"},
               {"created", created},
               {"owned_by", "etch"},
               {"max_model_len", context}};
  json["root"] = id;
  json["parent"] = parent.empty() ? Json() : Json(parent);
  return json;
}

Json AdapterJson(const AdapterState& adapter, const std::string& base, int64_t created,
                 int64_t context) {
  Json json = ModelJson(adapter.name, base, created, context);
  // What is not known before the first use is null.
  const auto known = [](int64_t value) { return value == 0 ? Json() : Json(value); };
  json["adapter"] = {{"resident", adapter.resident},
                     {"loading", adapter.loading},
                     {"pinned", adapter.pinned},
                     {"rank", known(adapter.rank)},
                     {"size_bytes", known(adapter.size_bytes)},
                     {"last_used", known(adapter.last_used)}};
  return json;
}

}  // namespace

void ChoiceState::Add(const Piece& piece) {
  text += piece.text;
  reasoning += piece.reasoning;
  calls.insert(calls.end(), piece.calls.begin(), piece.calls.end());
  details.insert(details.end(), piece.details.begin(), piece.details.end());
  hidden.insert(hidden.end(), piece.hidden.begin(), piece.hidden.end());
  tokens += piece.tokens;
  if (piece.finished) {
    finished = true;
    reason = piece.reason;
    at_stop_string = piece.at_stop_string;
  }
}

std::string FinishName(engine::FinishReason reason, bool made_calls) {
  return reason == engine::FinishReason::kLength ? "length" : made_calls ? "tool_calls" : "stop";
}

std::string AnswerBody(const AnswerHead& head, const std::vector<ChoiceState>& choices,
                       const Usage& usage, const text::Tokenizer& tokenizer) {
  Json body = HeadJson(head, false);
  body["choices"] = Json::array();
  for (size_t index = 0; index < choices.size(); ++index) {
    const ChoiceState& state = choices[index];
    Json choice = {{"index", index}};
    if (head.is_chat) {
      choice["message"] = MessageJson(state);
    } else {
      choice["text"] = state.text;
    }
    choice["logprobs"] = Logprobs(head, state.details, tokenizer);
    choice["finish_reason"] = FinishName(state.reason, !state.calls.empty());
    body["choices"].push_back(std::move(choice));
  }
  body["usage"] = UsageJson(usage);
  return Dump(body);
}

std::string ChunkBody(const AnswerHead& head, const Piece& piece, bool first, int64_t calls,
                      const text::Tokenizer& tokenizer) {
  Json choice = {{"index", piece.choice}};
  if (head.is_chat) {
    Json delta = Json::object();
    if (first) {
      delta["role"] = "assistant";
    }
    if (first || !piece.text.empty()) {
      delta["content"] = piece.text;
    }
    if (!piece.reasoning.empty()) {
      delta["reasoning_content"] = piece.reasoning;
    }
    for (const ToolCall& call : piece.calls) {
      Json item = {{"index", calls++}};
      item.update(CallJson(call));
      delta["tool_calls"].push_back(std::move(item));
    }
    choice["delta"] = std::move(delta);
  } else {
    choice["text"] = piece.text;
  }
  choice["logprobs"] = Logprobs(head, piece.details, tokenizer);
  choice["finish_reason"] =
      piece.finished ? Json(FinishName(piece.reason, piece.made_calls)) : Json();
  Json body = HeadJson(head, true);
  body["choices"] = Json::array({std::move(choice)});
  return Dump(body);
}

std::string UsageChunkBody(const AnswerHead& head, const Usage& usage) {
  Json body = HeadJson(head, true);
  body["choices"] = Json::array();
  body["usage"] = UsageJson(usage);
  return Dump(body);
}

std::string ModelsBody(const std::string& base, bool with_base,
                       const std::vector<AdapterState>& adapters, int64_t created,
                       int64_t context) {
  Json data = Json::array();
  if (with_base) {
    data.push_back(ModelJson(base, "", created, context));
  }
  for (const AdapterState& adapter : adapters) {
    data.push_back(AdapterJson(adapter, base, created, context));
  }
  return Dump({{"object", "list"}, {"data", std::move(data)}});
}

std::string ModelBody(const std::string& id, int64_t created, int64_t context) {
  return Dump(ModelJson(id, "", created, context));
}

std::string AdapterBody(const AdapterState& adapter, const std::string& base, int64_t created,
                        int64_t context) {
  return Dump(AdapterJson(adapter, base, created, context));
}

int HttpStatus(ErrorCode code) {
  switch (code) {
    case ErrorCode::kNotFound:
      return 404;
    case ErrorCode::kUnavailable:
      return 503;
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kMalformed:
    case ErrorCode::kUnsupported:
    case ErrorCode::kMismatch:
    case ErrorCode::kContextExceeded:
    case ErrorCode::kNoSpace:  // more than the whole budget: asking again does not help
      return 400;
    default:
      return 500;
  }
}

std::string Shortened(const std::string& message) {
  constexpr size_t kMaxBytes = 500;
  if (message.size() <= kMaxBytes) {
    return message;
  }
  size_t end = kMaxBytes;
  while (end > 0 && (static_cast<unsigned char>(message[end]) & 0xC0) == 0x80) {
    --end;  // not within a character
  }
  return message.substr(0, end) + " \u2026";
}

std::string ErrorBody(int status, const std::string& message, const std::string& code,
                      const std::string& param) {
  const char* type = status == 401   ? "authentication_error"
                     : status == 403 ? "permission_error"
                     : status == 404 ? "not_found_error"
                     : status == 429 ? "rate_limit_error"
                     : status == 503 ? "unavailable_error"
                     : status >= 500 ? "server_error"
                                     : "invalid_request_error";
  const Json field = param.empty() ? Json() : Json(param);
  return Dump(
      {{"error",
        {{"message", Shortened(message)}, {"type", type}, {"param", field}, {"code", code}}}});
}

}  // namespace etch::serve
