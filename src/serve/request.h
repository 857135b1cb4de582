#pragma once

// Requests of the OpenAI API as data: bodies are parsed and range-checked here, and nothing behind
// sees JSON.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/error.h"
#include "model/vocabulary.h"
#include "numerics/sampler.h"
#include "text/chat_template.h"

namespace etch::serve {

// One prompt of /v1/completions: text, or token ids.
using Prompt = std::variant<std::string, std::vector<model::TokenId>>;

// What an answer must be.
struct ConstraintSpec {
  enum class Kind { kJsonObject, kJsonSchema, kRegex, kGrammar, kChoice };

  Kind kind = Kind::kJsonObject;
  std::string text;                  // the schema, pattern or grammar
  std::vector<std::string> choices;  // kChoice
  std::string field;                 // of the request, for errors
};

struct CompletionRequest {
  std::string model;                        // empty: the base
  std::vector<text::ChatMessage> messages;  // /v1/chat/completions
  std::vector<Prompt> prompts;              // /v1/completions
  std::optional<int64_t> max_tokens;
  numerics::SamplingParams sampling{1.0, 0, 1.0, 0.0, 0};
  bool has_seed = false;
  int64_t choices = 1;  // n
  std::vector<std::string> stop;
  bool stream = false;
  bool include_usage = false;
  bool logprobs = false;
  int64_t top_logprobs = 0;
  std::optional<ConstraintSpec> constraint;
  std::string client;   // the tenant, not of the body: turns and kept contexts are its own
  int64_t context = 0;  // tokens of prompt and answer, not of the body: 0 is the engine's default

  bool is_chat() const { return !messages.empty(); }
};

inline constexpr int64_t kMaxChoices = 16;  // n
inline constexpr int64_t kMaxPrompts = 64;  // prompts times n
inline constexpr size_t kMaxStopStrings = 16;
inline constexpr int kMaxJsonDepth = 64;

// kMalformed for what is not JSON; kInvalidArgument naming the field for what is out of range;
// kUnsupported for what Etch does not do (tools …).
Result<CompletionRequest> ParseChatRequest(std::string_view body);
Result<CompletionRequest> ParseCompletionRequest(std::string_view body);

}  // namespace etch::serve
