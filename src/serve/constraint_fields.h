#pragma once

// The fields of a request that hold its answer to a constraint, in the spellings of OpenAI
// (response_format), vLLM (guided_…, structured_outputs) and llama.cpp (json_schema, grammar).

#include <nlohmann/json_fwd.hpp>
#include <optional>

#include "base/error.h"
#include "serve/request.h"

namespace etch::serve {

// Nothing when the request asks for free text; an error beginning with the field's name when a
// field is wrong or two ask for different things.
Result<std::optional<ConstraintSpec>> ReadConstraint(const nlohmann::json& request);

// The field that an error of a constraint names, or "".
std::string_view ConstraintField(std::string_view message);

}  // namespace etch::serve
