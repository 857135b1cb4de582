// The request's fields are those that the chip's service publishes; what it answers is published
// for its chat only, as a block of statistics behind the text, so the answer's shape here is that
// block (docs/api.md) beside the text. The body is put into OpenAI's words, so that all surfaces
// are read and checked by one reader.

#include "serve/generate_api.h"

#include <array>
#include <nlohmann/json.hpp>

#include "serve/json_fields.h"

namespace etch::serve {
namespace {

using Out = nlohmann::ordered_json;

constexpr int64_t kMaxTopK = 8;  // of the chip's sampler
constexpr auto kFields = std::to_array<std::string_view>({"prompt",
                                                          "min_output_tokens",
                                                          "max_output_tokens",
                                                          "topk",
                                                          "model",
                                                          "stream",
                                                          "stream_options",
                                                          "tools",
                                                          "tool_choice",
                                                          "logprobs",
                                                          "top_logprobs",
                                                          "system_prompt_version",
                                                          "tool_name",
                                                          "context_for_tool",
                                                          "guided_json",
                                                          "guided_regex",
                                                          "response_format",
                                                          "metadata",
                                                          "echo",
                                                          "stop",
                                                          "temperature",
                                                          "ignore_eos",
                                                          "seed",
                                                          "lora",
                                                          "strict"});

double Rate(int64_t count, double seconds) {
  return seconds > 0.0 ? static_cast<double>(count) / seconds : 0.0;
}

class GenerateFormat : public AnswerFormat {
 public:
  explicit GenerateFormat(int64_t top_k) : top_k_(top_k) {}

  std::string_view id_prefix() const override { return "gen-"; }

  std::string Whole(const AnswerView& answer, const std::vector<ChoiceState>& choices) override {
    const ChoiceState& choice = choices.front();
    Out body = Text(answer, choice.text, choice.reasoning, choice.calls, choice.details);
    body["stats"] = Stats(answer, choice.reason, choice.at_stop_string, !choice.calls.empty());
    return DumpJson(body);
  }

  std::string Next(const AnswerView& answer, const Piece& piece) override {
    if (piece.empty()) {
      return "";
    }
    Out body = Text(answer, piece.text, piece.reasoning, piece.calls, piece.details);
    if (piece.finished) {
      body["stats"] = Stats(answer, piece.reason, piece.at_stop_string, piece.made_calls);
    }
    return ServerEvent(DumpJson(body));
  }

  std::string End(const AnswerView&) override { return ServerEvent("[DONE]"); }

 private:
  static Out Text(const AnswerView& answer, const std::string& text, const std::string& reasoning,
                  const std::vector<ToolCall>& calls, const std::vector<TokenDetail>& details) {
    Out body = {{"id", answer.head.id}, {"model", answer.head.model}, {"text", text}};
    if (!reasoning.empty()) {
      body["reasoning_content"] = reasoning;
    }
    for (const ToolCall& call : calls) {
      body["tool_calls"].push_back(
          {{"id", call.id}, {"name", call.name}, {"arguments", call.arguments}});
    }
    for (const TokenDetail& detail : details) {
      Out item = {{"token", answer.tokenizer.TokenBytes(detail.token, true)},
                  {"id", detail.token},
                  {"logprob", detail.logprob},
                  {"top", Out::array()}};
      for (const engine::TokenLogprob& top : detail.top) {
        item["top"].push_back({{"token", answer.tokenizer.TokenBytes(top.token, true)},
                               {"id", top.token},
                               {"logprob", top.logprob}});
      }
      body["logprobs"].push_back(std::move(item));
    }
    return body;
  }

  Out Stats(const AnswerView& answer, engine::FinishReason reason, bool at_stop_string,
            bool made_calls) const {
    const Timings& timings = answer.timings;
    const Usage& usage = answer.usage;
    const bool is_full = reason == engine::FinishReason::kLength;
    const double decode_s = timings.last_token_s - timings.first_token_s;
    return {{"created_at", answer.head.created},
            {"done", true},
            {"done_reason", FinishName(reason, made_calls)},
            {"reason", is_full          ? "output limit reached"
                       : at_stop_string ? "stop string met"
                                        : "end token met"},
            {"status", "completed"},
            {"topk", top_k_},
            {"queue_time", timings.started_s},
            {"ttft", timings.first_token_s},
            {"prefill_tokens", usage.prompt_tokens},
            {"prefill_rate", Rate(usage.prompt_tokens, timings.first_token_s - timings.started_s)},
            {"decode_tokens", usage.completion_tokens},
            {"decode_rate", Rate(usage.completion_tokens - 1, decode_s)},
            {"total_tokens", usage.prompt_tokens + usage.completion_tokens},
            {"total_time", timings.last_token_s},
            {"total_duration", static_cast<int64_t>(timings.last_token_s * 1e9)}};
  }

  const int64_t top_k_;
};

Status RefuseUnsupported(const Json& json) {
  ETCH_ASSIGN_OR_RETURN(const auto least, ReadInteger(json, "min_output_tokens", 0, 1 << 30));
  if (least.value_or(0) > 0) {
    return Fail(ErrorCode::kUnsupported, "min_output_tokens is not supported");
  }
  for (const char* name : {"tool_name", "context_for_tool"}) {
    std::string text;
    ETCH_TRY(ReadString(json, name, text));
    if (!text.empty()) {
      return Fail(ErrorCode::kUnsupported, "{} is not supported", name);
    }
  }
  return {};
}

}  // namespace

Result<Ask> AskGenerate(const Service&, const RouteRequest& route, bool strict) {
  ETCH_ASSIGN_OR_RETURN(const Json json, ParseObject(route.body));
  ETCH_TRY(CheckFields(json, strict, kFields));
  ETCH_TRY(RefuseUnsupported(json));
  ETCH_ASSIGN_OR_RETURN(const auto top_k, ReadInteger(json, "topk", 1, kMaxTopK));
  ETCH_ASSIGN_OR_RETURN(const auto limit, ReadInteger(json, "max_output_tokens", 0, 1 << 30));
  Json body = {{"top_k", top_k.value_or(1)}};
  if (limit.value_or(0) > 0) {
    body["max_tokens"] = *limit;
  }
  for (const char* name :
       {"model", "stream", "tools", "tool_choice", "guided_json", "guided_regex", "response_format",
        "echo", "stop", "temperature", "ignore_eos", "seed", "lora"}) {
    if (const Json* field = Field(json, name)) {
      body[name] = *field;
    }
  }
  const Json* prompt = Field(json, "prompt");
  const bool is_chat = prompt != nullptr && prompt->is_array();
  bool logprobs = false;
  ETCH_TRY(ReadBool(json, "logprobs", logprobs));
  ETCH_ASSIGN_OR_RETURN(const auto top, ReadInteger(json, "top_logprobs", 0, 20));
  if (logprobs && is_chat) {
    body["logprobs"] = true;
    body["top_logprobs"] = top.value_or(0);
  } else if (logprobs) {
    body["logprobs"] = top.value_or(0);
  }
  if (prompt != nullptr) {
    body[is_chat ? "messages" : "prompt"] = *prompt;
  }
  if (!is_chat && limit.value_or(0) == 0) {
    body["max_tokens"] = 1 << 30;  // up to the context's end
  }
  Ask ask;
  const std::string text = DumpJson(body);
  ETCH_ASSIGN_OR_RETURN(ask.request,
                        is_chat ? ParseChatRequest(text) : ParseCompletionRequest(text));
  ask.format = std::make_unique<GenerateFormat>(top_k.value_or(1));
  return ask;
}

}  // namespace etch::serve
