#include "serve/constraint_fields.h"

#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <vector>

namespace etch::serve {
namespace {

using Json = nlohmann::json;
using Kind = ConstraintSpec::Kind;

constexpr std::array<std::string_view, 8> kFields = {
    "response_format", "structured_outputs", "guided_json", "guided_regex",
    "guided_grammar",  "guided_choice",      "json_schema", "grammar"};
// A forced call is a constraint, too.
constexpr std::string_view kToolChoice = "tool_choice";
constexpr size_t kMaxChoiceTexts = 10'000;

tl::unexpected<Error> Invalid(std::string_view field, std::string_view what) {
  return Fail(ErrorCode::kInvalidArgument, "{}: {}", field, what);
}

// One constraint from the value of a field.
Result<ConstraintSpec> ReadSpec(Kind kind, const Json& value, std::string_view field) {
  ConstraintSpec spec;
  spec.kind = kind;
  spec.field = field;
  if (kind == Kind::kChoice) {
    if (!value.is_array() || value.empty() || value.size() > kMaxChoiceTexts) {
      return Invalid(field, "the choices are not a list of 1 to 10,000 strings");
    }
    for (const Json& choice : value) {
      if (!choice.is_string()) {
        return Invalid(field, "a choice is not a string");
      }
      spec.choices.push_back(choice.get<std::string>());
    }
  } else if (kind == Kind::kJsonSchema && (value.is_object() || value.is_boolean())) {
    spec.text = value.dump();
  } else if (value.is_string()) {
    spec.text = value.get<std::string>();
  } else {
    return Invalid(
        field, kind == Kind::kJsonSchema ? "the schema is not an object" : "it is not a string");
  }
  return spec;
}

Result<std::optional<ConstraintSpec>> ReadResponseFormat(const Json& format) {
  constexpr std::string_view kField = "response_format";
  const auto type = format.is_object() ? format.find("type") : format.end();
  if (!format.is_object() || type == format.end() || !type->is_string()) {
    return Invalid(kField, "it is not an object with a type");
  }
  if (*type == "text") {
    return std::nullopt;
  }
  if (*type == "json_object") {
    if (format.contains("schema") && !format["schema"].is_null()) {  // llama.cpp
      return ReadSpec(Kind::kJsonSchema, format["schema"], kField);
    }
    ConstraintSpec spec;
    spec.kind = Kind::kJsonObject;
    spec.field = kField;
    return spec;
  }
  if (*type == "json_schema") {
    const Json* inner = format.contains("json_schema") ? &format["json_schema"] : &format;
    if (!inner->is_object() || !inner->contains("schema")) {
      return Invalid(kField, "json_schema has no schema");
    }
    return ReadSpec(Kind::kJsonSchema, (*inner)["schema"], kField);
  }
  return Fail(ErrorCode::kUnsupported,
              "response_format: type \"{}\" is not supported; use text, json_object or json_schema",
              type->get<std::string>());
}

Result<std::optional<ConstraintSpec>> ReadStructuredOutputs(const Json& outputs) {
  constexpr std::string_view kField = "structured_outputs";
  if (!outputs.is_object()) {
    return Invalid(kField, "it is not an object");
  }
  std::optional<ConstraintSpec> spec;
  for (const auto& [name, value] : outputs.items()) {
    if (value.is_null()) {
      continue;
    }
    if (spec) {
      return Invalid(kField, "more than one constraint");
    }
    if (name == "json_object" && value.is_boolean()) {
      if (value == true) {
        spec.emplace();
        spec->kind = Kind::kJsonObject;
        spec->field = kField;
      }
      continue;
    }
    const std::map<std::string_view, Kind> kinds = {{"json", Kind::kJsonSchema},
                                                    {"regex", Kind::kRegex},
                                                    {"grammar", Kind::kGrammar},
                                                    {"choice", Kind::kChoice}};
    const auto kind = kinds.find(name);
    if (kind == kinds.end()) {
      return Fail(ErrorCode::kUnsupported, "structured_outputs: \"{}\" is not supported", name);
    }
    ETCH_ASSIGN_OR_RETURN(spec, ReadSpec(kind->second, value, kField));
  }
  return spec;
}

Result<std::optional<ConstraintSpec>> ReadField(std::string_view field, const Json& value) {
  if (field == "response_format") {
    return ReadResponseFormat(value);
  }
  if (field == "structured_outputs") {
    return ReadStructuredOutputs(value);
  }
  const Kind kind = field.ends_with("regex")     ? Kind::kRegex
                    : field.ends_with("grammar") ? Kind::kGrammar
                    : field.ends_with("choice")  ? Kind::kChoice
                                                 : Kind::kJsonSchema;
  return ReadSpec(kind, value, field);
}

}  // namespace

Result<std::optional<ConstraintSpec>> ReadConstraint(const Json& request) {
  std::optional<ConstraintSpec> found;
  for (const std::string_view field : kFields) {
    const auto value = request.find(field);
    if (value == request.end() || value->is_null()) {
      continue;
    }
    ETCH_ASSIGN_OR_RETURN(std::optional<ConstraintSpec> spec, ReadField(field, *value));
    if (spec && found) {
      return Fail(ErrorCode::kInvalidArgument, "{}: {} asks for a constraint already", field,
                  found->field);
    }
    if (spec) {
      found = std::move(spec);
    }
  }
  return found;
}

std::string_view ConstraintField(std::string_view message) {
  for (const std::string_view field : kFields) {
    if (message.starts_with(field) && message.substr(field.size()).starts_with(':')) {
      return field;
    }
  }
  return message.starts_with(kToolChoice) ? kToolChoice : std::string_view();
}

}  // namespace etch::serve
