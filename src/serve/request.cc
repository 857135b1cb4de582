#include "serve/request.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "serve/constraint_fields.h"
#include "serve/json_fields.h"
#include "serve/tool_fields.h"

namespace etch::serve {
namespace {

using std::string_view_literals::operator""sv;

// What strict requests may hold: fields that are honoured or refused by name, and a few that change
// nothing here (user, store, metadata …).
constexpr auto kCommonFields = std::to_array<std::string_view>({"model"sv,
                                                                "temperature"sv,
                                                                "top_p"sv,
                                                                "min_p"sv,
                                                                "top_k"sv,
                                                                "seed"sv,
                                                                "max_tokens"sv,
                                                                "max_completion_tokens"sv,
                                                                "n"sv,
                                                                "stop"sv,
                                                                "stream"sv,
                                                                "stream_options"sv,
                                                                "logprobs"sv,
                                                                "frequency_penalty"sv,
                                                                "logit_bias"sv,
                                                                "presence_penalty"sv,
                                                                "user"sv,
                                                                "strict"sv,
                                                                "lora"sv,
                                                                "ignore_eos"sv,
                                                                "echo"sv,
                                                                "suffix"sv,
                                                                "best_of"sv,
                                                                "repetition_penalty"sv,
                                                                "grammar"sv,
                                                                "json_schema"sv,
                                                                "response_format"sv,
                                                                "guided_choice"sv,
                                                                "guided_grammar"sv,
                                                                "guided_json"sv,
                                                                "guided_regex"sv,
                                                                "guided_decoding_backend"sv,
                                                                "structured_outputs"sv});
constexpr auto kChatFields = std::to_array<std::string_view>(
    {"messages"sv, "top_logprobs"sv, "tools"sv, "tool_choice"sv, "functions"sv, "function_call"sv,
     "audio"sv, "prediction"sv, "store"sv, "metadata"sv, "service_tier"sv, "safety_identifier"sv,
     "prompt_cache_key"sv, "web_search_options"sv});

Status CheckKnown(const Json& json, bool strict, bool is_chat) {
  std::vector<std::string_view> known(kCommonFields.begin(), kCommonFields.end());
  if (is_chat) {
    known.insert(known.end(), kChatFields.begin(), kChatFields.end());
  } else {
    known.emplace_back("prompt");
  }
  return CheckFields(json, strict, known);
}

Status ReadSeed(const Json& json, CompletionRequest& request) {
  const Json* field = Field(json, "seed");
  if (field == nullptr) {
    return {};
  }
  if (!field->is_number_integer()) {
    return Fail(ErrorCode::kInvalidArgument, "seed is not a whole number of 64 bits");
  }
  request.has_seed = true;
  request.sampling.seed = field->is_number_unsigned()
                              ? field->get<uint64_t>()
                              : static_cast<uint64_t>(field->get<int64_t>());
  return {};
}

Status ReadStop(const Json& json, CompletionRequest& request) {
  const Json* field = Field(json, "stop");
  if (field == nullptr) {
    return {};
  }
  const Json list = field->is_array() ? *field : Json::array({*field});
  if (list.size() > kMaxStopStrings) {
    return Fail(ErrorCode::kInvalidArgument, "stop has more than {} strings", kMaxStopStrings);
  }
  for (const Json& item : list) {
    if (!item.is_string()) {
      return Fail(ErrorCode::kInvalidArgument, "stop is neither a string nor a list of strings");
    }
    request.stop.push_back(item.get<std::string>());
  }
  return {};
}

// Fields that would change the answer in ways that Etch does not offer yet.
Status RefuseUnsupported(const Json& json) {
  const auto refuse = [](const char* name) {
    return Fail(ErrorCode::kUnsupported, "{} is not supported", name);
  };
  for (const char* name : {"functions", "suffix", "audio", "prediction", "web_search_options"}) {
    const Json* field = Field(json, name);
    if (field != nullptr && !field->empty() && *field != "") {
      return refuse(name);
    }
  }
  for (const char* name : {"repetition_penalty", "best_of"}) {
    double value = 1.0;
    ETCH_TRY(ReadNumber(json, name, value));
    if (value != 1.0) {
      return refuse(name);
    }
  }
  bool echo = false;
  ETCH_TRY(ReadBool(json, "echo", echo));
  return echo ? Status(refuse("echo")) : Status();
}

Result<int32_t> ReadPenalty(const Json& json, const char* name) {
  double value = 0.0;
  ETCH_TRY(ReadNumber(json, name, value));
  if (!(value >= -2.0 && value <= 2.0)) {
    return Fail(ErrorCode::kInvalidArgument, "{} is not in -2 to 2", name);
  }
  return numerics::ToLogit(value);
}

// {"15043": -100, …}: token ids as names.
Status ReadBias(const Json& json, CompletionRequest& request) {
  const Json* bias = Field(json, "logit_bias");
  if (bias == nullptr) {
    return {};
  }
  if (!bias->is_object() || bias->size() > kMaxBiases) {
    return Fail(ErrorCode::kInvalidArgument, "logit_bias is not an object of at most {} token ids",
                kMaxBiases);
  }
  for (const auto& [name, value] : bias->items()) {
    model::TokenId token = model::kNoToken;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), token);
    const bool is_id = error == std::errc() && end == name.data() + name.size() && token >= 0 &&
                       name == std::to_string(token);  // one spelling: an id comes once
    if (!is_id || !value.is_number()) {
      return Fail(ErrorCode::kInvalidArgument, "logit_bias: \"{}\" is no token id with a number",
                  name);
    }
    const double amount = value.get<double>();
    if (!(amount >= -100.0 && amount <= 100.0)) {
      return Fail(ErrorCode::kInvalidArgument, "logit_bias of {} is not in -100 to 100", name);
    }
    request.changes.bias.emplace_back(token, numerics::ToLogit(amount));
  }
  return {};
}

// [{"id": 0, "scale": 0.5}, …], as llama-server has it.
Status ReadLora(const Json& json, CompletionRequest& request) {
  const Json* list = Field(json, "lora");
  if (list == nullptr) {
    return {};
  }
  if (!list->is_array() || list->size() > kMaxLoras) {
    return Fail(ErrorCode::kInvalidArgument, "lora is not a list of at most {} adapters",
                kMaxLoras);
  }
  request.lora.emplace();
  for (const Json& item : *list) {
    if (!item.is_object()) {
      return Fail(ErrorCode::kInvalidArgument, "lora holds something that is not an object");
    }
    ETCH_ASSIGN_OR_RETURN(const std::optional<int64_t> id,
                          ReadInteger(item, "id", 0, int64_t{1} << 31));
    double scale = 1.0;
    ETCH_TRY(ReadNumber(item, "scale", scale));
    if (!id) {
      return Fail(ErrorCode::kInvalidArgument, "an entry of lora has no id");
    }
    if (std::ranges::find(*request.lora, *id, &ScaledLora::id) != request.lora->end()) {
      return Fail(ErrorCode::kInvalidArgument, "lora names the id {} twice", *id);
    }
    request.lora->push_back({*id, scale});
  }
  return {};
}

Status ReadSampling(const Json& json, CompletionRequest& request) {
  ETCH_TRY(ReadNumber(json, "temperature", request.sampling.temperature));
  if (request.sampling.temperature > 0.0 && request.sampling.temperature < 0.01) {
    request.sampling.temperature = 0.0;  // as good as greedy, and outside of the contract's range
  }
  ETCH_TRY(ReadNumber(json, "top_p", request.sampling.top_p));
  ETCH_TRY(ReadNumber(json, "min_p", request.sampling.min_p));
  ETCH_ASSIGN_OR_RETURN(const std::optional<int64_t> top_k,
                        ReadInteger(json, "top_k", -1, model::TokenId{1} << 30));
  request.sampling.top_k = std::max<int64_t>(0, top_k.value_or(0));
  ETCH_TRY(ReadSeed(json, request));
  ETCH_TRY(ReadBias(json, request));
  ETCH_ASSIGN_OR_RETURN(request.changes.presence, ReadPenalty(json, "presence_penalty"));
  ETCH_ASSIGN_OR_RETURN(request.changes.frequency, ReadPenalty(json, "frequency_penalty"));
  return numerics::Validate(request.sampling);
}

// What both routes share.
Status ReadCommon(const Json& json, bool strict, bool is_chat, CompletionRequest& request) {
  ETCH_TRY(CheckKnown(json, strict, is_chat));
  ETCH_TRY(RefuseUnsupported(json));
  ETCH_TRY(ReadString(json, "model", request.model));
  ETCH_TRY(ReadSampling(json, request));
  for (const char* name : {"max_tokens", "max_completion_tokens"}) {
    ETCH_ASSIGN_OR_RETURN(const std::optional<int64_t> limit,
                          ReadInteger(json, name, 1, int64_t{1} << 31));
    if (limit) {
      request.max_tokens = limit;
    }
  }
  ETCH_ASSIGN_OR_RETURN(const std::optional<int64_t> choices,
                        ReadInteger(json, "n", 1, kMaxChoices));
  request.choices = choices.value_or(1);
  ETCH_TRY(ReadStop(json, request));
  ETCH_ASSIGN_OR_RETURN(request.constraint, ReadConstraint(json));
  ETCH_TRY(ReadLora(json, request));
  ETCH_TRY(ReadBool(json, "ignore_eos", request.ignore_eos));
  ETCH_TRY(ReadBool(json, "stream", request.stream));
  if (const Json* options = Field(json, "stream_options")) {
    if (!options->is_object()) {
      return Fail(ErrorCode::kInvalidArgument, "stream_options is not an object");
    }
    ETCH_TRY(ReadBool(*options, "include_usage", request.include_usage));
  }
  return {};
}

// A string, or a list of {"type": "text", "text": …}.
Result<std::string> ReadContent(const Json& message) {
  const Json* content = Field(message, "content");
  if (content == nullptr) {
    return std::string();
  }
  if (content->is_string()) {
    return content->get<std::string>();
  }
  if (!content->is_array()) {
    return Fail(ErrorCode::kInvalidArgument, "content is neither a string nor a list of parts");
  }
  std::string text;
  for (const Json& part : *content) {
    const bool is_text = part.is_object() && part.contains("type") && part["type"] == "text" &&
                         part.contains("text") && part["text"].is_string();
    if (!is_text) {
      return Fail(ErrorCode::kUnsupported, "a content part is not of type text");
    }
    text += part["text"].get<std::string>();
  }
  return text;
}

Result<Prompt> ReadPrompt(const Json& json) {
  if (json.is_string()) {
    return Prompt(json.get<std::string>());
  }
  std::vector<model::TokenId> tokens;
  for (const Json& item : json) {
    if (!item.is_number_integer() || item.get<int64_t>() < 0 ||
        item.get<int64_t>() > model::kMaxTokenId) {
      return Fail(ErrorCode::kInvalidArgument, "prompt holds something that is not a token id");
    }
    tokens.push_back(item.get<model::TokenId>());
  }
  return Prompt(std::move(tokens));
}

}  // namespace

Result<CompletionRequest> ParseChatRequest(std::string_view body, bool strict) {
  ETCH_ASSIGN_OR_RETURN(const Json json, ParseObject(body));
  CompletionRequest request;
  ETCH_TRY(ReadCommon(json, strict, true, request));
  ETCH_TRY(ReadTools(json, request));
  const Json* messages = Field(json, "messages");
  if (messages == nullptr || !messages->is_array() || messages->empty()) {
    return Fail(ErrorCode::kInvalidArgument, "messages is not a list of at least one message");
  }
  for (const Json& message : *messages) {
    text::ChatMessage read;
    if (!message.is_object()) {
      return Fail(ErrorCode::kInvalidArgument, "a message is not an object");
    }
    ETCH_TRY(ReadString(message, "role", read.role));
    if (read.role.empty()) {
      return Fail(ErrorCode::kInvalidArgument, "a message has no role");
    }
    ETCH_ASSIGN_OR_RETURN(read.content, ReadContent(message));
    ETCH_ASSIGN_OR_RETURN(read.extra_json, ReadMessageExtra(message));
    request.messages.push_back(std::move(read));
  }
  ETCH_TRY(ReadBool(json, "logprobs", request.logprobs));
  ETCH_ASSIGN_OR_RETURN(const std::optional<int64_t> top, ReadInteger(json, "top_logprobs", 0, 20));
  request.top_logprobs = top.value_or(0);
  return request;
}

Result<CompletionRequest> ParseCompletionRequest(std::string_view body, bool strict) {
  ETCH_ASSIGN_OR_RETURN(const Json json, ParseObject(body));
  CompletionRequest request;
  ETCH_TRY(ReadCommon(json, strict, false, request));
  const Json* prompt = Field(json, "prompt");
  if (prompt == nullptr || !(prompt->is_string() || prompt->is_array())) {
    return Fail(ErrorCode::kInvalidArgument, "prompt is neither a string nor a list");
  }
  const bool several = prompt->is_array() && !prompt->empty() &&
                       (prompt->front().is_string() || prompt->front().is_array());
  for (const Json& item : several ? *prompt : Json::array({*prompt})) {
    if (!item.is_string() && !item.is_array()) {
      return Fail(ErrorCode::kInvalidArgument, "a prompt is neither a string nor a list of ids");
    }
    ETCH_ASSIGN_OR_RETURN(Prompt read, ReadPrompt(item));
    request.prompts.push_back(std::move(read));
    if (std::ssize(request.prompts) * request.choices > kMaxPrompts) {
      return Fail(ErrorCode::kInvalidArgument, "prompts times n is more than {}", kMaxPrompts);
    }
  }
  ETCH_ASSIGN_OR_RETURN(const std::optional<int64_t> top, ReadInteger(json, "logprobs", 0, 20));
  request.logprobs = top.has_value();
  request.top_logprobs = top.value_or(0);
  if (!request.max_tokens) {
    request.max_tokens = 16;  // as the API documents
  }
  return request;
}

}  // namespace etch::serve
