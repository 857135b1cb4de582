#pragma once

// What GET /metrics answers.

#include <string>

#include "serve/service.h"

namespace etch::serve {

std::string MetricsText(const Service& service);

}  // namespace etch::serve
