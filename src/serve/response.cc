#include "serve/response.h"

#include <nlohmann/json.hpp>

#include "serve/json_fields.h"

namespace etch::serve {
namespace {

using Out = nlohmann::ordered_json;

Out ByteList(const std::string& text) {
  Out bytes = Out::array();
  for (const char character : text) {
    bytes.push_back(static_cast<unsigned char>(character));
  }
  return bytes;
}

// {"content": [{token, logprob, bytes, top_logprobs}]}
Out ChatLogprobs(const std::vector<TokenDetail>& details, const text::Tokenizer& tokenizer) {
  const auto entry = [&](engine::TokenId token, double logprob) {
    const std::string text = tokenizer.TokenBytes(token, true);
    return Out{{"token", text}, {"logprob", logprob}, {"bytes", ByteList(text)}};
  };
  Out content = Out::array();
  for (const TokenDetail& detail : details) {
    Out item = entry(detail.token, detail.logprob);
    item["top_logprobs"] = Out::array();
    for (const engine::TokenLogprob& top : detail.top) {
      item["top_logprobs"].push_back(entry(top.token, top.logprob));
    }
    content.push_back(std::move(item));
  }
  return {{"content", std::move(content)}, {"refusal", nullptr}};
}

// {tokens, token_logprobs, top_logprobs, text_offset}
Out CompletionLogprobs(const std::vector<TokenDetail>& details, const text::Tokenizer& tokenizer) {
  Out out = {{"tokens", Out::array()},
             {"token_logprobs", Out::array()},
             {"top_logprobs", Out::array()},
             {"text_offset", Out::array()}};
  size_t offset = 0;
  for (const TokenDetail& detail : details) {
    const std::string text = tokenizer.TokenBytes(detail.token, true);
    out["tokens"].push_back(text);
    out["token_logprobs"].push_back(detail.logprob);
    Out top = Out::object();
    for (const engine::TokenLogprob& item : detail.top) {
      top[tokenizer.TokenBytes(item.token, true)] = item.logprob;
    }
    out["top_logprobs"].push_back(std::move(top));
    out["text_offset"].push_back(offset);
    offset += text.size();
  }
  return out;
}

Out Logprobs(const AnswerHead& head, const std::vector<TokenDetail>& details,
             const text::Tokenizer& tokenizer) {
  if (!head.logprobs) {
    return nullptr;
  }
  return head.is_chat ? ChatLogprobs(details, tokenizer) : CompletionLogprobs(details, tokenizer);
}

Out UsageJson(const Usage& usage) {
  return {{"prompt_tokens", usage.prompt_tokens},
          {"completion_tokens", usage.completion_tokens},
          {"total_tokens", usage.prompt_tokens + usage.completion_tokens},
          {"prompt_tokens_details", {{"cached_tokens", usage.cached_tokens}}}};
}

Out CallJson(const ToolCall& call) {
  return {{"id", call.id},
          {"type", "function"},
          {"function", {{"name", call.name}, {"arguments", call.arguments}}}};
}

Out MessageJson(const ChoiceState& state) {
  Out message = {{"role", "assistant"}, {"content", state.text}, {"refusal", nullptr}};
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

Out HeadJson(const AnswerHead& head, bool chunk) {
  const char* object = !head.is_chat ? "text_completion"
                       : chunk       ? "chat.completion.chunk"
                                     : "chat.completion";
  return {{"id", head.id}, {"object", object}, {"created", head.created}, {"model", head.model}};
}

Out ModelJson(const std::string& id, const std::string& parent, int64_t created, int64_t context) {
  Out json = {{"id", id},
              {"object", "model"},
              {"created", created},
              {"owned_by", "etch"},
              {"max_model_len", context}};
  json["root"] = id;
  json["parent"] = parent.empty() ? Out() : Out(parent);
  return json;
}

Out AdapterJson(const AdapterState& adapter, const std::string& base, int64_t created,
                int64_t context) {
  Out json = ModelJson(adapter.name, base, created, context);
  // What is not known before the first use is null.
  const auto known = [](int64_t value) { return value == 0 ? Out() : Out(value); };
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
  Out body = HeadJson(head, false);
  body["choices"] = Out::array();
  for (size_t index = 0; index < choices.size(); ++index) {
    const ChoiceState& state = choices[index];
    Out choice = {{"index", index}};
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
  return DumpJson(body);
}

std::string ChunkBody(const AnswerHead& head, const Piece& piece, bool first, int64_t calls,
                      const text::Tokenizer& tokenizer) {
  Out choice = {{"index", piece.choice}};
  if (head.is_chat) {
    Out delta = Out::object();
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
      Out item = {{"index", calls++}};
      item.update(CallJson(call));
      delta["tool_calls"].push_back(std::move(item));
    }
    choice["delta"] = std::move(delta);
  } else {
    choice["text"] = piece.text;
  }
  choice["logprobs"] = Logprobs(head, piece.details, tokenizer);
  choice["finish_reason"] =
      piece.finished ? Out(FinishName(piece.reason, piece.made_calls)) : Out();
  Out body = HeadJson(head, true);
  body["choices"] = Out::array({std::move(choice)});
  return DumpJson(body);
}

std::string UsageChunkBody(const AnswerHead& head, const Usage& usage) {
  Out body = HeadJson(head, true);
  body["choices"] = Out::array();
  body["usage"] = UsageJson(usage);
  return DumpJson(body);
}

std::string ModelsBody(const std::string& base, bool with_base,
                       const std::vector<AdapterState>& adapters, int64_t created,
                       int64_t context) {
  Out data = Out::array();
  if (with_base) {
    data.push_back(ModelJson(base, "", created, context));
  }
  for (const AdapterState& adapter : adapters) {
    data.push_back(AdapterJson(adapter, base, created, context));
  }
  return DumpJson(Out{{"object", "list"}, {"data", std::move(data)}});
}

std::string ModelBody(const std::string& id, int64_t created, int64_t context) {
  return DumpJson(ModelJson(id, "", created, context));
}

std::string AdapterBody(const AdapterState& adapter, const std::string& base, int64_t created,
                        int64_t context) {
  return DumpJson(AdapterJson(adapter, base, created, context));
}

}  // namespace etch::serve
