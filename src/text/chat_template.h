#pragma once

// Chat templates: the subset of Jinja2 that published models use, rendered within fixed bounds of
// steps, memory and nesting, with no access to anything but its inputs. Untrusted: templates come
// inside model files.
//
// The dialect is Jinja 3.1 as transformers sets it up: trim_blocks, lstrip_blocks, break, continue,
// generation, raise_exception, strftime_now, and its tojson; from_json beside them. Values print as
// in Python (True, None, ['a', 1.0]). Left out: include, import, inheritance, recursive loops,
// varargs, and methods that change a list or a dict.
//
// strftime_now reads the clock that the context gives as `strftime_now_seconds` (Unix time, UTC);
// without it, 2024-07-26 00:00:00. A render depends on its arguments only. The texts
// `generation_open` and `generation_close` of the context, if there, are written around each
// {% generation %} block: by it a template says what the assistant generates.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"

namespace etch::text {

struct ChatMessage {
  std::string role;
  std::string content;
  // Further members as templates know them (tool_calls, tool_call_id, name …): a JSON object, or
  // empty.
  std::string extra_json = {};
};

// The largest of 64 published templates takes 25 levels and some thousand steps for a short chat.
struct RenderLimits {
  int64_t max_steps = 2'000'000;  // evaluated nodes, and bytes that operations read, scaled
  int64_t max_output_bytes = 16 << 20;
  int64_t max_value_bytes = 64 << 20;  // all strings and lists alive at once, roughly
  int max_depth = 100;                 // nesting of expressions, calls, blocks, and of the context
};

class ChatTemplate {
 public:
  // kMalformed with line and column for a syntax error, kUnsupported for what the subset leaves
  // out, above 1 MiB of source, or nested deeper than 100.
  static Result<ChatTemplate> Parse(std::string_view source);
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;
  ~ChatTemplate();

  // Renders with the variables of `context_json`, a JSON object (messages, tools,
  // add_generation_prompt, bos_token …). Thread-safe. Errors name line and column of the template:
  //   kInvalidArgument  the template raised an error of its own ("the template says: …"), or used
  //                     a value against its type, or an undefined one
  //   kUnsupported      an unknown filter or test, or a method that changes a value
  //   kMalformed        `context_json` is broken
  //   kNoSpace          a limit is reached
  Result<std::string> Render(std::string_view context_json, const RenderLimits& limits = {}) const;

  // The common case: messages, bos and eos text; `tools_json` is a JSON list of tools, or empty.
  Result<std::string> RenderChat(const std::vector<ChatMessage>& messages,
                                 bool add_generation_prompt, std::string_view bos_token,
                                 std::string_view eos_token, const RenderLimits& limits = {},
                                 std::string_view tools_json = {}) const;

  // RenderChat without generation prompt, with `open` and `close` around what the assistant
  // generates, as far as the template has {% generation %} blocks.
  Result<std::string> RenderMarkedChat(const std::vector<ChatMessage>& messages,
                                       std::string_view bos_token, std::string_view eos_token,
                                       std::string_view open, std::string_view close,
                                       const RenderLimits& limits = {}) const;

 private:
  struct Impl;
  explicit ChatTemplate(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace etch::text
