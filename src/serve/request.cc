#include "serve/request.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "serve/constraint_fields.h"

namespace etch::serve {
namespace {

using Json = nlohmann::json;

// Nesting outside of strings, so that a body of brackets is refused before it is parsed.
bool TooDeep(std::string_view body) {
  int depth = 0;
  bool in_string = false;
  for (size_t at = 0; at < body.size(); ++at) {
    const char character = body[at];
    if (in_string) {
      at += character == '\\' ? 1 : 0;
      in_string = character != '"';
    } else if (character == '"') {
      in_string = true;
    } else if (character == '[' || character == '{') {
      if (++depth > kMaxJsonDepth) {
        return true;
      }
    } else if (character == ']' || character == '}') {
      --depth;
    }
  }
  return false;
}

Result<Json> ParseObject(std::string_view body) {
  if (TooDeep(body)) {
    return Fail(ErrorCode::kMalformed, "the body is nested deeper than {}", kMaxJsonDepth);
  }
  try {
    Json json = Json::parse(body);
    if (!json.is_object()) {
      return Fail(ErrorCode::kMalformed, "the body is not a JSON object");
    }
    return json;
  } catch (const Json::exception& error) {
    return Fail(ErrorCode::kMalformed, "the body is not JSON: {}", error.what());
  }
}

// A field that is absent or null is left as it is.
const Json* Field(const Json& json, const char* name) {
  const auto found = json.find(name);
  return found == json.end() || found->is_null() ? nullptr : &*found;
}

Status ReadNumber(const Json& json, const char* name, double& out) {
  if (const Json* field = Field(json, name)) {
    if (!field->is_number()) {
      return Fail(ErrorCode::kInvalidArgument, "{} is not a number", name);
    }
    out = field->get<double>();
  }
  return {};
}

Status ReadBool(const Json& json, const char* name, bool& out) {
  if (const Json* field = Field(json, name)) {
    if (!field->is_boolean()) {
      return Fail(ErrorCode::kInvalidArgument, "{} is neither true nor false", name);
    }
    out = field->get<bool>();
  }
  return {};
}

Result<std::optional<int64_t>> ReadInteger(const Json& json, const char* name, int64_t low,
                                           int64_t high) {
  const Json* field = Field(json, name);
  if (field == nullptr) {
    return std::nullopt;
  }
  if (!field->is_number_integer() ||
      (field->is_number_unsigned() && field->get<uint64_t>() > static_cast<uint64_t>(high)) ||
      field->get<int64_t>() < low || field->get<int64_t>() > high) {
    return Fail(ErrorCode::kInvalidArgument, "{} is not a whole number in {} to {}", name, low,
                high);
  }
  return field->get<int64_t>();
}

Status ReadString(const Json& json, const char* name, std::string& out) {
  if (const Json* field = Field(json, name)) {
    if (!field->is_string()) {
      return Fail(ErrorCode::kInvalidArgument, "{} is not a string", name);
    }
    out = field->get<std::string>();
  }
  return {};
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
  for (const char* name : {"tools", "functions", "suffix", "audio", "prediction"}) {
    const Json* field = Field(json, name);
    if (field != nullptr && !field->empty()) {
      return refuse(name);
    }
  }
  for (const char* name : {"frequency_penalty", "presence_penalty"}) {
    double value = 0.0;
    ETCH_TRY(ReadNumber(json, name, value));
    if (value != 0.0) {
      return refuse(name);
    }
  }
  if (const Json* bias = Field(json, "logit_bias"); bias != nullptr && !bias->empty()) {
    return refuse("logit_bias");
  }
  bool echo = false;
  ETCH_TRY(ReadBool(json, "echo", echo));
  return echo ? Status(refuse("echo")) : Status();
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
  return numerics::Validate(request.sampling);
}

// What both routes share.
Status ReadCommon(const Json& json, CompletionRequest& request) {
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

Result<CompletionRequest> ParseChatRequest(std::string_view body) {
  ETCH_ASSIGN_OR_RETURN(const Json json, ParseObject(body));
  CompletionRequest request;
  ETCH_TRY(ReadCommon(json, request));
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
    request.messages.push_back(std::move(read));
  }
  ETCH_TRY(ReadBool(json, "logprobs", request.logprobs));
  ETCH_ASSIGN_OR_RETURN(const std::optional<int64_t> top, ReadInteger(json, "top_logprobs", 0, 20));
  request.top_logprobs = top.value_or(0);
  return request;
}

Result<CompletionRequest> ParseCompletionRequest(std::string_view body) {
  ETCH_ASSIGN_OR_RETURN(const Json json, ParseObject(body));
  CompletionRequest request;
  ETCH_TRY(ReadCommon(json, request));
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
