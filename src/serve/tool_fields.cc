#include "serve/tool_fields.h"

#include <nlohmann/json.hpp>

#include "serve/json_fields.h"

namespace etch::serve {
namespace {

// Whether the tools are to be shown to the model.
Result<bool> ReadChoice(const Json& json) {
  const Json* choice = Field(json, "tool_choice");
  if (choice == nullptr || *choice == "auto") {
    return true;
  }
  if (*choice == "none") {
    return false;
  }
  return Fail(ErrorCode::kUnsupported,
              "tool_choice is neither \"auto\" nor \"none\"; a call cannot be enforced");
}

// A call with its arguments as an object, where they are the text of one.
Json ReadCall(Json call) {
  if (call.is_object() && call.contains("function") && call["function"].is_object()) {
    Json& function = call["function"];
    if (function.contains("arguments") && function["arguments"].is_string()) {
      Result<Json> arguments = ParseObject(function["arguments"].get_ref<const std::string&>());
      if (arguments) {
        function["arguments"] = std::move(*arguments);
      }
    }
  }
  return call;
}

}  // namespace

Status ReadTools(const Json& json, CompletionRequest& request) {
  ETCH_ASSIGN_OR_RETURN(const bool are_shown, ReadChoice(json));
  const Json* tools = Field(json, "tools");
  if (tools == nullptr || (tools->is_array() && tools->empty())) {
    return {};
  }
  if (!tools->is_array() || tools->size() > kMaxTools) {
    return Fail(ErrorCode::kInvalidArgument, "tools is not a list of at most {} tools", kMaxTools);
  }
  std::vector<std::string> names;
  for (const Json& tool : *tools) {
    const bool is_function = tool.is_object() &&
                             tool.value("type", Json("function")) == "function" &&
                             tool.contains("function") && tool["function"].is_object();
    std::string name;
    if (is_function) {
      ETCH_TRY(ReadString(tool["function"], "name", name));
    }
    if (name.empty()) {
      return Fail(ErrorCode::kInvalidArgument,
                  "tools holds something that is no function with a name");
    }
    names.push_back(std::move(name));
  }
  if (are_shown) {
    request.tool_names = std::move(names);
    request.tools_json = DumpJson(*tools);
  }
  return {};
}

Result<std::string> ReadMessageExtra(const Json& message) {
  Json extra = Json::object();
  for (const char* name : {"name", "tool_call_id", "reasoning_content"}) {
    std::string text;
    ETCH_TRY(ReadString(message, name, text));
    if (!text.empty()) {
      extra[name] = text;
    }
  }
  if (const Json* calls = Field(message, "tool_calls")) {
    if (!calls->is_array()) {
      return Fail(ErrorCode::kInvalidArgument, "tool_calls is not a list");
    }
    for (const Json& call : *calls) {
      extra["tool_calls"].push_back(ReadCall(call));
    }
  }
  return extra.empty() ? std::string() : DumpJson(extra);
}

}  // namespace etch::serve
