// The request is put into the words of /v1/chat/completions and read by its reader.

#include "serve/responses_api.h"

#include <array>
#include <nlohmann/json.hpp>

#include "serve/json_fields.h"
#include "serve/responses_format.h"

namespace etch::serve {
namespace {

constexpr auto kFields = std::to_array<std::string_view>({"model",
                                                          "input",
                                                          "instructions",
                                                          "max_output_tokens",
                                                          "temperature",
                                                          "top_p",
                                                          "stream",
                                                          "stream_options",
                                                          "tools",
                                                          "tool_choice",
                                                          "text",
                                                          "reasoning",
                                                          "store",
                                                          "metadata",
                                                          "user",
                                                          "include",
                                                          "truncation",
                                                          "service_tier",
                                                          "safety_identifier",
                                                          "prompt_cache_key",
                                                          "previous_response_id",
                                                          "conversation",
                                                          "background",
                                                          "prompt",
                                                          "seed",
                                                          "stop",
                                                          "top_k",
                                                          "min_p",
                                                          "lora",
                                                          "logit_bias",
                                                          "presence_penalty",
                                                          "frequency_penalty",
                                                          "strict"});

// A string, or parts of text.
Result<std::string> ReadContent(const Json& content) {
  if (content.is_string()) {
    return content.get<std::string>();
  }
  std::string text;
  for (const Json& part : content) {
    std::string type;
    std::string piece;
    if (part.is_object()) {
      ETCH_TRY(ReadString(part, "type", type));
      ETCH_TRY(ReadString(part, "text", piece));
    }
    if (type != "input_text" && type != "output_text" && type != "text") {
      return Fail(ErrorCode::kUnsupported, "input: a content part is not text");
    }
    text += piece;
  }
  return text;
}

// One item of the input as a message; null for what says nothing to the model.
Result<Json> ReadItem(const Json& item) {
  std::string type = "message";
  if (!item.is_object()) {
    return Fail(ErrorCode::kInvalidArgument, "input holds something that is not an object");
  }
  ETCH_TRY(ReadString(item, "type", type));
  if (type == "reasoning") {
    return Json();
  }
  const auto member = [&item](const char* name) {
    const Json* field = Field(item, name);
    return field == nullptr ? Json("") : *field;
  };
  if (type == "function_call") {
    return Json{{"role", "assistant"},
                {"tool_calls",
                 {{{"id", member("call_id")},
                   {"type", "function"},
                   {"function", {{"name", member("name")}, {"arguments", member("arguments")}}}}}}};
  }
  if (type == "function_call_output") {
    ETCH_ASSIGN_OR_RETURN(const std::string output, ReadContent(member("output")));
    return Json{{"role", "tool"}, {"tool_call_id", member("call_id")}, {"content", output}};
  }
  if (type != "message") {
    return Fail(ErrorCode::kUnsupported, "input: items of type {} are not supported", type);
  }
  ETCH_ASSIGN_OR_RETURN(const std::string content, ReadContent(member("content")));
  Json role = member("role");
  return Json{{"role", role == "developer" ? Json("system") : std::move(role)},
              {"content", content}};
}

Result<Json> ReadInput(const Json& json) {
  Json messages = Json::array();
  std::string instructions;
  ETCH_TRY(ReadString(json, "instructions", instructions));
  if (!instructions.empty()) {
    messages.push_back({{"role", "system"}, {"content", instructions}});
  }
  const Json* input = Field(json, "input");
  if (input == nullptr || !(input->is_string() || (input->is_array() && !input->empty()))) {
    return Fail(ErrorCode::kInvalidArgument, "input is neither a string nor a list of messages");
  }
  if (input->is_string()) {
    messages.push_back({{"role", "user"}, {"content", *input}});
    return messages;
  }
  for (const Json& item : *input) {
    ETCH_ASSIGN_OR_RETURN(Json message, ReadItem(item));
    if (!message.is_null()) {
      messages.push_back(std::move(message));
    }
  }
  return messages;
}

// {"type": "function", "name", …} as {"type": "function", "function": {"name", …}}.
Result<Json> ReadTools(const Json& tools) {
  if (!tools.is_array()) {
    return Fail(ErrorCode::kInvalidArgument, "tools is not a list");
  }
  Json list = Json::array();
  for (const Json& tool : tools) {
    if (!tool.is_object() || tool.value("type", Json()) != "function") {
      return Fail(ErrorCode::kUnsupported, "tools: only functions are supported");
    }
    Json function = tool;
    function.erase("type");
    list.push_back({{"type", "function"}, {"function", std::move(function)}});
  }
  return list;
}

Status RefuseUnsupported(const Json& json) {
  for (const char* name : {"previous_response_id", "conversation", "prompt"}) {
    if (Field(json, name) != nullptr) {
      return Fail(ErrorCode::kUnsupported,
                  "{} is not supported: this server stores no responses; send the whole input",
                  name);
    }
  }
  bool background = false;
  ETCH_TRY(ReadBool(json, "background", background));
  const Json* truncation = Field(json, "truncation");
  if (background || (truncation != nullptr && *truncation != "disabled")) {
    return Fail(ErrorCode::kUnsupported, "{} is not supported",
                background ? "background" : "truncation other than disabled");
  }
  return {};
}

// text.format as response_format.
Status CarryFormat(const Json& json, Json& body) {
  const Json* text = Field(json, "text");
  if (text == nullptr || !text->is_object()) {
    return {};
  }
  if (const Json* format = Field(*text, "format"); format != nullptr && format->is_object()) {
    const Json type = format->value("type", Json());
    Json schema = *format;
    schema.erase("type");
    body["response_format"] = {{"type", type}};
    if (type == "json_schema") {
      body["response_format"]["json_schema"] = std::move(schema);
    }
  }
  return {};
}

// What the response repeats; absent settings with the values that they have.
std::string Echo(const Json& json, double temperature, double top_p) {
  Json echo = {{"tool_choice", "auto"},
               {"tools", Json::array()},
               {"parallel_tool_calls", true},
               {"metadata", Json::object()},
               {"instructions", Json()},
               {"max_output_tokens", Json()},
               {"text", {{"format", {{"type", "text"}}}}}};
  for (const auto& [name, value] : echo.items()) {
    if (const Json* field = Field(json, name.c_str())) {
      value = *field;
    }
  }
  echo["temperature"] = temperature;
  echo["top_p"] = top_p;
  return DumpJson(echo);
}

}  // namespace

Result<Ask> AskResponses(const Service&, const RouteRequest& route, bool strict) {
  ETCH_ASSIGN_OR_RETURN(const Json json, ParseObject(route.body));
  ETCH_TRY(CheckFields(json, strict, kFields));
  ETCH_TRY(RefuseUnsupported(json));
  Json body = Json::object();
  ETCH_ASSIGN_OR_RETURN(body["messages"], ReadInput(json));
  for (const char* name :
       {"model", "temperature", "top_p", "stream", "tool_choice", "seed", "stop", "top_k", "min_p",
        "lora", "logit_bias", "presence_penalty", "frequency_penalty"}) {
    if (const Json* field = Field(json, name)) {
      body[name] = *field;
    }
  }
  ETCH_ASSIGN_OR_RETURN(const auto limit, ReadInteger(json, "max_output_tokens", 1, 1 << 30));
  if (limit) {
    body["max_tokens"] = *limit;
  }
  if (const Json* tools = Field(json, "tools")) {
    ETCH_ASSIGN_OR_RETURN(body["tools"], ReadTools(*tools));
  }
  if (Json& choice = body["tool_choice"]; choice.is_object() && choice.contains("name")) {
    choice["function"] = {{"name", choice["name"]}};
  }
  ETCH_TRY(CarryFormat(json, body));
  Ask ask;
  ETCH_ASSIGN_OR_RETURN(ask.request, ParseChatRequest(DumpJson(body)));
  ask.format = MakeResponsesFormat(
      {Echo(json, ask.request.sampling.temperature, ask.request.sampling.top_p)});
  return ask;
}

}  // namespace etch::serve
