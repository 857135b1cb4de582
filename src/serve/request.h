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
#include "numerics/logit_changes.h"
#include "numerics/sampler.h"
#include "text/chat_template.h"

namespace etch::serve {

// One prompt of /v1/completions: text, or token ids.
using Prompt = std::variant<std::string, std::vector<model::TokenId>>;

// An adapter by llama-server's number, with its weight.
struct ScaledLora {
  int64_t id = 0;
  double scale = 1.0;
};

// What an answer must be.
struct ConstraintSpec {
  enum class Kind { kJsonObject, kJsonSchema, kRegex, kGrammar, kChoice };

  Kind kind = Kind::kJsonObject;
  std::string text;                  // the schema, pattern or grammar
  std::vector<std::string> choices;  // kChoice
  std::string field;                 // of the request, for errors
  std::string prefix;                // what stands around the JSON of the first two kinds
  std::string suffix;
  bool is_compact = false;  // JSON on one line
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

  std::string tools_json;                       // a list of tools for the template, or empty
  std::vector<std::string> tool_names;          // of their functions
  std::vector<std::string> forced_calls;        // the answer is a call of one of these, if any
  std::optional<std::vector<ScaledLora>> lora;  // instead of the adapter that `model` names
  numerics::LogitChanges changes;               // penalties and bias
  bool ignore_eos = false;
  bool embeds = false;  // what is wanted of each prompt is its vector, not an answer

  bool is_chat() const { return !messages.empty(); }
};

inline constexpr int64_t kMaxChoices = 16;  // n
inline constexpr int64_t kMaxPrompts = 64;  // prompts times n
inline constexpr size_t kMaxStopStrings = 16;
inline constexpr size_t kMaxBiases = 1024;
inline constexpr size_t kMaxLoras = 16;
inline constexpr size_t kMaxTools = 128;
inline constexpr int kMaxJsonDepth = 64;

// kMalformed for what is not JSON; kInvalidArgument naming the field for what is out of range;
// kUnsupported for what Etch does not do. `strict`, or the field of that name,
// refuses unknown fields; otherwise they are passed over.
Result<CompletionRequest> ParseChatRequest(std::string_view body, bool strict = false);
Result<CompletionRequest> ParseCompletionRequest(std::string_view body, bool strict = false);

}  // namespace etch::serve
