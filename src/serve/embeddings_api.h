#pragma once

// Vectors of texts: /v1/embeddings, and Ollama's /api/embed and /api/embeddings.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "serve/completion.h"

namespace etch::serve {

inline constexpr int64_t kMaxInputs = 256;  // of one request

Result<Ask> AskEmbeddings(const Service& service, const RouteRequest& route, bool strict);
Result<Ask> AskOllamaEmbed(const Service& service, const RouteRequest& route, bool strict);
// The older route: one prompt, one vector.
Result<Ask> AskOllamaEmbeddings(const Service& service, const RouteRequest& route, bool strict);

// `hidden` divided by its length; zeros stay zeros. The same bits on every machine: sums are exact,
// and IEEE 754 rounds square root and division in one way.
std::vector<float> Normalized(std::span<const int32_t> hidden);
// As the API has it: the values' 4 bytes each, little-endian, in base64.
std::string Base64(std::span<const float> values);

}  // namespace etch::serve
