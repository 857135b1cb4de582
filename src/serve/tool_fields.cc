#include "serve/tool_fields.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "serve/json_fields.h"

namespace etch::serve {
namespace {

struct Choice {
  bool shows_tools = true;  // to the model
  bool is_forced = false;
  std::string name;  // of the one function that must be called; "": any
};

Result<Choice> ReadChoice(const Json& json) {
  const Json* choice = Field(json, "tool_choice");
  if (choice == nullptr || *choice == "auto") {
    return Choice{};
  }
  if (*choice == "none") {
    return Choice{false, false, ""};
  }
  if (*choice == "required") {
    return Choice{true, true, ""};
  }
  Choice named{true, true, ""};
  if (choice->is_object() && choice->value("type", Json()) == "function" &&
      choice->contains("function") && (*choice)["function"].is_object()) {
    ETCH_TRY(ReadString((*choice)["function"], "name", named.name));
  }
  if (named.name.empty()) {
    return Fail(ErrorCode::kUnsupported,
                "tool_choice is not \"auto\", \"none\", \"required\" or a function by its name");
  }
  return named;
}

// Points the references that a schema makes to its own root to `place`, where it comes to stand in
// a larger one. ParseObject bounds the depth.
void MoveReferences(Json& schema, const std::string& place) {
  if (schema.is_array()) {
    for (Json& item : schema) {
      MoveReferences(item, place);
    }
  }
  if (!schema.is_object()) {
    return;
  }
  for (const auto& [name, value] : schema.items()) {
    const bool holds_names = name == "properties" || name == "patternProperties" ||
                             name == "$defs" || name == "definitions";
    if (holds_names && value.is_object()) {  // of anything, also "$ref" and "default"
      for (Json& part : value) {
        MoveReferences(part, place);
      }
    } else if (name == "$ref" && value.is_string()) {
      const auto reference = value.get<std::string>();
      if (reference == "#" || reference.starts_with("#/")) {
        value = place + reference.substr(1);
      }
    } else if (name != "const" && name != "enum" && name != "default" && name != "examples") {
      MoveReferences(value, place);
    }
  }
}

// The schema of a function's arguments, as part number `index`.
Json ArgumentSchema(const Json& function, size_t index) {
  const Json* parameters = Field(function, "parameters");
  if (parameters == nullptr) {
    return {{"type", "object"}, {"additionalProperties", false}};
  }
  Json schema = *parameters;
  if (schema.is_object()) {
    schema.erase("$schema");
    schema.erase("$id");
    MoveReferences(schema, fmt::format("#/$defs/{}", index));
    const bool is_plain = schema.contains("properties") && !schema.contains("$ref") &&
                          !schema.contains("patternProperties") && !schema.contains("allOf") &&
                          !schema.contains("anyOf") && !schema.contains("oneOf");
    if (is_plain && !schema.contains("additionalProperties")) {
      schema["additionalProperties"] = false;
    }
  }
  return schema;
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
  ETCH_ASSIGN_OR_RETURN(const Choice choice, ReadChoice(json));
  const Json* tools = Field(json, "tools");
  if (tools == nullptr || (tools->is_array() && tools->empty())) {
    if (choice.is_forced) {
      return Fail(ErrorCode::kInvalidArgument, "tool_choice asks for a call, and tools has none");
    }
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
  if (!choice.name.empty() && std::ranges::find(names, choice.name) == names.end()) {
    return Fail(ErrorCode::kInvalidArgument, "tool_choice: tools has no function \"{}\"",
                choice.name);
  }
  if (choice.is_forced) {
    request.forced_calls = choice.name.empty() ? names : std::vector{choice.name};
  }
  if (choice.shows_tools) {
    request.tool_names = std::move(names);
    request.tools_json = DumpJson(*tools);
  }
  return {};
}

ConstraintSpec ForcedCall(const CompletionRequest& request, std::string_view chat_template) {
  const bool has_marks = chat_template.find("<tool_call>") != std::string_view::npos;
  const char* arguments = has_marks ? "arguments" : "parameters";
  const Json tools = Json::parse(request.tools_json, nullptr, false);
  Json calls = Json::array();
  Json parts = Json::object();
  for (size_t index = 0; index < tools.size(); ++index) {
    const Json& function = tools[index]["function"];
    const auto name = function["name"].get<std::string>();
    if (std::ranges::find(request.forced_calls, name) == request.forced_calls.end()) {
      continue;
    }
    const std::string place = std::to_string(index);
    parts[place] = ArgumentSchema(function, index);
    const Json held = {
        {"allOf", {{{"type", "object"}}, {{"$ref", fmt::format("#/$defs/{}", place)}}}}};
    calls.push_back({{"type", "object"},
                     {"properties", {{"name", {{"const", name}}}, {arguments, held}}},
                     {"required", {"name", arguments}},
                     {"additionalProperties", false}});
  }
  ConstraintSpec spec;
  spec.kind = ConstraintSpec::Kind::kJsonSchema;
  spec.field = "tool_choice";
  spec.is_compact = true;
  spec.text = DumpJson(Json{{"anyOf", std::move(calls)}, {"$defs", std::move(parts)}});
  if (has_marks) {
    spec.prefix = "<tool_call>\n";
    spec.suffix = "\n</tool_call>";
  }
  return spec;
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
