#pragma once

// Reading fields of a request's JSON, with errors that name them.

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"

namespace etch::serve {

using Json = nlohmann::json;

// kMalformed for what is no JSON, no object, or nested deeper than kMaxJsonDepth.
Result<Json> ParseObject(std::string_view body);

// Null when the field is absent or null.
const Json* Field(const Json& json, const char* name);

// Fields that are absent or null leave `out` as it is; others of the wrong type are
// kInvalidArgument.
Status ReadNumber(const Json& json, const char* name, double& out);
Status ReadBool(const Json& json, const char* name, bool& out);
Status ReadString(const Json& json, const char* name, std::string& out);
Result<std::optional<int64_t>> ReadInteger(const Json& json, const char* name, int64_t low,
                                           int64_t high);

// When strictness is asked for, by the caller or by the member "strict": kInvalidArgument naming
// the first member of `json` that is not in `known`.
Status CheckFields(const Json& json, bool strict, std::span<const std::string_view> known);

// Text, with what is no UTF-8 replaced.
std::string DumpJson(const Json& json);
std::string DumpJson(const nlohmann::ordered_json& json);

}  // namespace etch::serve
