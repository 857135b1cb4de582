#pragma once

// What /v1/responses answers: a response object, or the events that build one.

#include <memory>
#include <string>

#include "serve/answer_format.h"

namespace etch::serve {

// What a response repeats of its request.
struct ResponseEcho {
  std::string json;  // an object of the members to repeat
};

std::unique_ptr<AnswerFormat> MakeResponsesFormat(ResponseEcho echo);

}  // namespace etch::serve
