#include "serve/json_fields.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "serve/request.h"

namespace etch::serve {
namespace {

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

}  // namespace

Result<Json> ParseObject(std::string_view body) {
  if (TooDeep(body)) {
    return Fail(ErrorCode::kMalformed, "the body is nested deeper than {}", kMaxJsonDepth);
  }
  // JSON has no NUL anywhere, and nlohmann's parser takes it for the end.
  if (body.find('\0') != std::string_view::npos) {
    return Fail(ErrorCode::kMalformed, "the body is not JSON: it holds a NUL byte");
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

Status CheckFields(const Json& json, bool strict, std::span<const std::string_view> known) {
  bool is_asked_for = false;
  ETCH_TRY(ReadBool(json, "strict", is_asked_for));
  if (!strict && !is_asked_for) {
    return {};
  }
  for (const auto& [name, value] : json.items()) {
    if (std::ranges::find(known, name) == known.end()) {
      return Fail(ErrorCode::kInvalidArgument, "unknown parameter \"{}\" (strict is set)", name);
    }
  }
  return {};
}

std::string DumpJson(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string DumpJson(const nlohmann::ordered_json& json) {
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace etch::serve
